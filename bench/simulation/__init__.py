"""A million connections in virtual time: the beat machines of both ends, the wheels that wake them, and the judge.

Nothing is simulated but the network and the clock: sessions, wheels and judges are those of the library. Every connection beats
every 10 s. Some meet a fate in between (:class:`.setting.Fate`), and once the whole client process does not run for longer than
silence convicts. At the end every peer that deserved it must have been convicted in time, and nobody else ever.

``python -m bench.simulation`` runs 10,000, 100,000 and 1,000,000 connections, each in a process of its own, and prints what a
beat costs and what a connection takes. The collector is off meanwhile: to look through a million living connections again and
again is its price, not theirs. What it finds at the end is printed: the machines leave nothing to it.
"""
