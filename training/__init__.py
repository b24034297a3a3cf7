"""The model side: data sets -> models -> evaluation -> gate -> registry -> recommendations."""

import os

# Hourly jobs share their machine.  Threads of PyTorch that wait for one another by spinning keep
# its cores from whoever has work: beside a second busy process training was several times slower.
# Read once, when PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
