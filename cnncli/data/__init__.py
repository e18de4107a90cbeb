"""Data: sources, preprocessing, augmentation, batches."""
