import torch

from experiments.training.outputs import gallery, loss_curve, per_class


def test_each_class_has_its_row_and_the_mean_is_over_those_that_occur():
    truth, predicted = torch.tensor([0, 0, 0, 0, 3, 3]), torch.tensor([0, 0, 0, 3, 3, 7])
    assert per_class(truth, predicted).splitlines() == [
        "class,right,support,precision,recall,f1",
        "0,3,4,1.0000,0.7500,0.8571",
        "3,1,2,0.5000,0.5000,0.5000",
        "7,0,0,0.0000,0.0000,0.0000",  # predicted, but never true
        "mean,4,6,0.5000,0.4167,0.4524",
    ]


def test_titles_are_green_where_right_and_red_where_wrong():
    images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    figure = gallery(images, torch.tensor([1, 2, 3]), torch.tensor([1, 7, 3]))
    titles = [(text.get_text(), text.get_color()) for text in figure.axes[0].texts]
    assert titles == [("1 (1)", "green"), ("7 (2)", "red"), ("3 (3)", "green")]


def test_the_loss_is_drawn_over_the_iterations():
    line, mean = loss_curve(torch.arange(100.0), batches=300).axes[0].lines
    assert line.get_xdata()[-1] == 300
    assert mean.get_ydata()[-1] == 98.5


def test_a_gallery_takes_any_number_of_images_in_grey_or_colour():
    for count, channels in ((0, 1), (1, 1), (1, 3), (11, 3)):
        images = torch.zeros(count, channels, 28, 28, dtype=torch.uint8)
        [axes] = gallery(images, torch.arange(count), torch.arange(count)).axes
        [picture] = axes.images
        canvas = picture.get_array()
        assert canvas.shape[0] == 4 + (1 + count // 11) * (8 + 28 + 4)
        assert (canvas == 0).all(axis=2).sum() == count * 28 * 28
        for text in axes.texts:  # just above its own image
            x, y = map(round, text.get_position())
            assert (canvas[y, x] == 255).all()
            assert (canvas[y + 8, x] == 0).all()
