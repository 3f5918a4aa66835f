"""Real-time semantic segmentation for vehicles: the LSA-BiNet network, its training, evaluation and inference."""

__version__ = "0.1.0"
