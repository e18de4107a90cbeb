"""cnncli: convolutional networks from a YAML file, compiled to JAX."""

__version__ = "0.1.0"
