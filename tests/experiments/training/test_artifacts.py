import torch
from sklearn.metrics import classification_report

from experiments.training.artifacts import per_class
from experiments.training.figures import loss_curve, predictions


def test_the_table_of_classes_is_that_of_scikit_learn():
    torch.manual_seed(0)
    truth = torch.randint(8, (500,))  # 8 and 9 do not occur,
    predicted = torch.where(torch.rand(500) < 0.7, truth, torch.randint(9, (500,)))
    predicted[0] = 8  # 8 is predicted
    expected = classification_report(truth, predicted, output_dict=True, zero_division=0)
    header, *lines = per_class(truth, predicted).splitlines()
    assert header == "class,right,support,precision,recall,f1"
    assert [line.split(",")[0] for line in lines] == [*map(str, range(9)), "mean"]
    for line in lines:
        name, right, support, *shares = line.split(",")
        theirs = expected["macro avg" if name == "mean" else name]
        assert int(support) == theirs["support"]
        for share, measure in zip(shares, ("precision", "recall", "f1-score"), strict=True):
            assert abs(float(share) - theirs[measure]) < 6e-5
        if name != "mean":
            assert int(right) == ((truth == predicted) & (truth == int(name))).sum()


def test_titles_are_green_where_right_and_red_where_wrong():
    images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8)
    figure = predictions(images, torch.tensor([1, 2, 3]), torch.tensor([1, 7, 3]))
    titles = [(text.get_text(), text.get_color()) for text in figure.axes[0].texts]
    assert titles == [("1 (1)", "green"), ("7 (2)", "red"), ("3 (3)", "green")]


def test_the_loss_is_drawn_over_the_iterations():
    line, mean = loss_curve(torch.arange(100.0), each=3).axes[0].lines
    assert line.get_xdata()[-1] == 300
    assert mean.get_ydata()[0] == 0.5
