"""A configured model is fitted: anew, resumed, continued or refitted."""
