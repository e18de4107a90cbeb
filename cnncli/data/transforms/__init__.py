"""What is done to images: preprocessing for all, augmentation in training."""
