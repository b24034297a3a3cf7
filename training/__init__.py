"""The model side of Hourglass: data sets -> models -> evaluation -> gate -> recommendations."""
