"""The long load: mixed courses and messages at a steady rate, watched, judged, and written down with plots."""
