"""The folder that ``bench-attn --from`` puts on a program's PYTHONPATH; it needs the standard library only."""
