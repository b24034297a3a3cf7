"""How good the systems are on real logs and on a simulated one whose truth is known.

python -m benchmarks.quality PROTOCOL --raw FOLDER
"""
