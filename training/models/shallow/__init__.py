"""Encoders without order beyond the last item."""
