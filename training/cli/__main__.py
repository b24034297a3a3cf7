"""``python -m training.cli``: what ``hourglass`` does."""

from training.__main__ import main

if __name__ == "__main__":
    main()
