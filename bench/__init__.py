"""What this library costs per call, measured against bare grpcio in the same run: ``python -m bench --help``."""
