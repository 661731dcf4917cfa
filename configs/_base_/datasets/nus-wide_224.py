# NUS-WIDE's 81 concepts at 224 x 224, in the split that its own files define and that has labels throughout.
# What else there is, and what to do about missing pictures: docs/datasets.md.
_base_ = './multi_label_224.py'

data_preprocessor = dict(num_classes=81)
nus_wide = dict(type='mmlattn.NUSWide', data_root='data/NUS-WIDE', protocol='official_labeled')
train_dataloader = dict(dataset=dict(nus_wide, split='train'))
val_dataloader = dict(dataset=dict(nus_wide, split='test', test_mode=True))
test_dataloader = val_dataloader
