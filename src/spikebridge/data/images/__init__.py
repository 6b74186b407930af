"""Labelled images: digits of scikit-learn, MNIST, and files of your own."""
