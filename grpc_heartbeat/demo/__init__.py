"""``make demo``: four processes on real sockets, watched while requests flow, are cancelled and meet a frozen server.

The director (``director``) starts the processes (``children`` here, ``node`` there), has them act (``acts``), collects what
they report and the spans that they export (``receiver``, ``traces``), and shows it (``show``, ``screen``). It is its own test:
each act returns facts that know which of their expectations hold (``facts``).

The services are in ``services``: three handlers without a line about deadlines, cancellation or heartbeats.
"""
