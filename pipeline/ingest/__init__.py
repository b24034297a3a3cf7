"""Raw files of the landing zone become events; what is refused is kept with its reason."""
