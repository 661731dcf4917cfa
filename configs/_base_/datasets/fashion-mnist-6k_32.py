# The first 6,000 training pictures of Fashion-MNIST and its whole test set: for comparisons that a CPU can afford.
_base_ = './fashion-mnist_32.py'

train_dataloader = dict(batch_size=64, dataset=dict(indices=6000))
