"""What two systems share: precision, layout of features, spatial transformer, LSTM cell, fusion of scores."""
