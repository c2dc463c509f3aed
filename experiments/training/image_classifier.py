"""An MLflow flavor for classifiers of images: any form of images goes in, classes come out.

A copy of this file is part of each saved model, which therefore loads without this project.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pytorch
import numpy as np
import pandas as pd
import torch
from mlflow import pyfunc
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec


class ImageClassifier:
    """What `mlflow.pyfunc` calls. It stays on the CPU, with or without a GPU.

    network: float [N, C, H, W], 0 to 255 -> logits [N, K]; shape: (C, H, W) of an image.
    """

    def __init__(self, network: torch.nn.Module, shape: tuple[int, ...]) -> None:
        self.network, self.shape = network, shape

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """The class of each image, int64 [N]; with `params={"logits": True}`, float [N, K].

        data: [N, C, H, W], or [N, H, W] of one channel, or rows of C*H*W pixels: an array of any
        type of number, a list, a frame with a column for each pixel, or with one column of images.
        Values go from 0 to 255; an image with none above 1, from 0 to 1.
        """
        with torch.inference_mode():
            logits = self.network(torch.from_numpy(self.pixels(data))).numpy()
        return logits if (params or {}).get("logits") else logits.argmax(1)

    def pixels(self, data: Any) -> np.ndarray:
        """float32 [N, C, H, W], 0 to 255. MlflowException: these are no such images."""
        if isinstance(data, pd.DataFrame):
            data = data.iloc[:, 0].tolist() if data.shape[1] == 1 else data.to_numpy()
        try:
            images = np.asarray(data, np.float32)
            if images.ndim == 4 and images.shape[1:] != self.shape:  # channels last, or a part
                raise ValueError(f"{images.shape}")
            images = images.reshape(len(images), *self.shape)
        except (TypeError, ValueError) as error:
            text = f"images must be numbers, N of {self.shape} or N rows of {np.prod(self.shape)}"
            text += "; channels first, and N = 1 for a single image"
            raise MlflowException.invalid_parameter_value(f"{text}: {error}") from error
        if not ((images >= 0) & (images <= 255)).all():  # nor are they standardised, or no numbers
            text = "pixels go from 0 to 255, or from 0 to 1; the network normalises them itself"
            raise MlflowException.invalid_parameter_value(text)
        highest = images.max(axis=(1, 2, 3), keepdims=True, initial=0)
        return np.where(highest <= 1, images * 255, images)


def save_model(path: Path, model: Model, network: torch.nn.Module, images: torch.Tensor) -> None:
    """Save a network, see ImageClassifier, as a graph without its code or pickled objects.

    images: two examples, float [2, C, H, W]; of one, the graph would take one at a time.
    """
    shape = tuple(images.shape[1:])
    mlflow.pytorch.save_model(
        network,
        path,
        mlflow_model=model,
        code_paths=[__file__],
        signature=ModelSignature(Schema([TensorSpec(np.dtype(np.float32), (-1, *shape))])),
        input_example=images.numpy(),
        pip_requirements=[f"{name}=={version(name)}" for name in ("torch", "numpy")],
        serialization_format="pt2",
    )
    # a schema of the inputs would refuse all forms but one
    model.signature = ModelSignature(
        outputs=Schema([TensorSpec(np.dtype(np.int64), (-1,))]),
        params=ParamSchema([ParamSpec("logits", DataType.boolean, False)]),
    )
    pyfunc.add_to_model(
        model,
        loader_module=Path(__file__).stem,
        code="code",
        conda_env="conda.yaml",
        python_env="python_env.yaml",
        model_config={"shape": list(shape)},
    )
    model.save(path / MLMODEL_FILE_NAME)


def _load_pyfunc(path: str, model_config: dict[str, Any]) -> ImageClassifier:
    """What `mlflow.pyfunc.load_model` calls, with the folder of the model."""
    return ImageClassifier(mlflow.pytorch.load_model(path), tuple(model_config["shape"]))
