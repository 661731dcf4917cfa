# As label_file.py, for pictures with exactly one label each, which heads for one class learn from.
_base_ = './label_file.py'

data_preprocessor = dict(to_onehot=False)
val_evaluator = [dict(type='Accuracy', topk=(1,))]
test_evaluator = val_evaluator
