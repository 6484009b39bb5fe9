"""Keras behind the protocol: `adapter` is the way in, and leads to the rest."""

# First of all: it sets TensorFlow's log level, which counts when TensorFlow is imported.
import bn_keras  # noqa: F401
