# DigitSets: 64 x 64 scenes that each show one of 20 sets of digits, three digits in ten faint or half covered.
# Made by tools/dataset_converters/multi_digits.py --out-dir data/digit-sets --max-digits 5 --digit-size 16 22
#   --clutter 2 --label-sets 20 --hide 0.3
_base_ = './multidigits.py'

data_root = 'data/digit-sets'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = [*_base_.val_evaluator, dict(type='mmlattn.LabelSetReport')]
test_evaluator = val_evaluator
