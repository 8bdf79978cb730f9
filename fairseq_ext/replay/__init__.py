"""Exact replay: a window of a recorded training is trained again with a denser recording, and compared with what was recorded (docs/replay.md)."""
