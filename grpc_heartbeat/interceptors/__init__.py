"""Official gRPC interceptors, for programs that cannot change how their channels and servers are made."""

if __name__ != "grpc_heartbeat.interceptors":
    # The top-level `interceptors` of a checkout is a link to this folder. Imported under that name, every class in here
    # would exist twice.
    raise ImportError(
        f"{__name__!r} is grpc_heartbeat.interceptors: write `import grpc_heartbeat.interceptors` instead"
    )
