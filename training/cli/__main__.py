"""``python -m training.cli``: what ``hourglass`` does."""

from training.cli.main import main

if __name__ == "__main__":
    main()
