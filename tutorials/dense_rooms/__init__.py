"""Generated rooms in Taskonomy's formats, and a network for tasks with a label for every pixel."""

from dense_rooms.encoder_decoder import dense_model, xception_encoder
from dense_rooms.scene_files import write_scenes

__all__ = ["dense_model", "write_scenes", "xception_encoder"]
