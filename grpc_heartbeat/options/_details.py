"""What every channel argument of gRPC's public headers means: written by hand from the headers and the code that reads them.

One line each: name | side | unit | default | what it does. The unit is only said where the kind of value in ``_known`` does not
say it; ``-`` means nothing is there to be said, ``none`` for a default that nothing is set. A side of ``nobody`` marks a name
that gRPC defines but does not read in Python's build of 1.85: setting it changes nothing.
A line that begins with two spaces goes on with the one before.
"""

from __future__ import annotations

DETAILS = """
grpc.TEST_ONLY_DO_NOT_USE_IN_PROD.xds_bootstrap_config|both|-|none|xDS bootstrap as JSON, for tests of gRPC itself
grpc.absolute_max_metadata_size|both|bytes|16384, at least 1.25 x grpc.max_metadata_size|metadata above this is always refused
grpc.address_http_proxy|client|text|none|HTTP proxy for single addresses, as an IP address
grpc.address_http_proxy_enabled_addresses|client|text|none|addresses that grpc.address_http_proxy is for, with commas
grpc.authorization_policy_provider|server|-|none|an authorization engine of C++
grpc.census|both|flag|0|tracing by OpenCensus plugins of C++
grpc.channel_id|nobody|-|none|channel pooling of Objective-C
grpc.channel_pooling_domain|nobody|-|none|channel pooling of Objective-C
grpc.child_channel.args|client|-|none|options of child channels, a pointer of C
grpc.client_idle_timeout_ms|client|-|1800000 (30 min)|without calls for this long the connection is dropped; at least 1
  s; a held stream is a call
grpc.compression_enabled_algorithms_bitset|both|-|all|algorithms that may be used, one bit each
grpc.default_authority|client|-|the target|the :authority that calls carry, and the name that TLS checks
grpc.default_compression_algorithm|both|-|0 (identity)|compression of messages that choose none
grpc.default_compression_level|both|-|none|level from which an algorithm is chosen
grpc.disable_client_authority_filter|client|-|0|leave :authority out where none was given
grpc.dns_ares_query_timeout|client|milliseconds|120000|one DNS query may take this long; 0 sets no limit
grpc.dns_enable_srv_queries|client|-|0|ask for SRV records too (grpclb)
grpc.dns_min_time_between_resolutions_ms|client|-|30000|names are asked again no sooner than this
grpc.dscp|both|-|none|differentiated-services code point of packets, 0 to 63
grpc.enable_channelz|both|-|1|keep figures for the channelz service
grpc.enable_http_proxy|client|-|1|use the proxy that the environment names
grpc.enable_retries|client|-|1|transparent retries, and those of the service config
grpc.event_engine_use_memory_allocator_factory|both|-|none|a pointer of C
grpc.expand_wildcard_addrs|server|flag|0|bind a wildcard as every local address
grpc.experimental.enable_hedging|client|flag|0|read perAttemptRecvTimeout of a retry policy
grpc.experimental.event_engine|nobody|-|none|a pointer of C
grpc.experimental.grpclb_channel_args|client|-|none|options of channels to grpclb balancers, a pointer of C
grpc.experimental.http2.enable_preferred_frame_size|both|-|0|tell the peer a preferred frame size
grpc.experimental.server_config_change_drain_grace_time_ms|server|-|600000|grace of connections drained by a new xDS
  configuration
grpc.experimental.stats_plugins|both|-|none|statistics plugins, a pointer of C
grpc.experimental.tcp_max_read_buffer_size|both|bytes|none|ceiling of the adaptive read buffer
grpc.experimental.tcp_max_read_chunk_size|both|bytes|4194304|largest slice to read at once
grpc.experimental.tcp_min_read_chunk_size|both|bytes|256|smallest slice to read at once
grpc.experimental.tcp_read_chunk_size|both|bytes|8192|slice to read at once
grpc.experimental.tcp_trace_full_buffer|nobody|-|0|TCP telemetry, which Python's build leaves out
grpc.experimental.tcp_tx_zerocopy_enabled|both|flag|0|send without copying
grpc.experimental.tcp_tx_zerocopy_max_simultaneous_sends|both|-|4|uncopied sends at a time
grpc.experimental.tcp_tx_zerocopy_send_bytes_threshold|both|bytes|16384|smallest send that is not copied
grpc.grpclb_call_timeout_ms|client|-|0 (none)|limit of calls to a grpclb balancer
grpc.grpclb_fallback_timeout_ms|client|-|10000|wait for a grpclb balancer before its fallback
grpc.happy_eyeballs_connection_attempt_delay_ms|client|-|250 (100 to 2000)|head start of one address before the next is tried
grpc.http2.bdp_probe|both|-|1|measure the bandwidth-delay product, with PINGs when data arrives
grpc.http2.hpack_table_size.decoder|both|bytes|4096|memory for decoding headers
grpc.http2.hpack_table_size.encoder|both|bytes|4096|memory for encoding headers
grpc.http2.initial_sequence_number|both|-|1|first stream id
grpc.http2.lookahead_bytes|both|bytes|65535|flow-control window of a stream
grpc.http2.max_frame_size|both|bytes|16384 (16384 to 16777215)|largest frame to receive
grpc.http2.max_ping_strikes|server|-|2|too early PINGs that are forgiven since the server last sent headers or data; 0
  forgives all
grpc.http2.max_pings_without_data|client|-|2|PINGs between two frames of data; then one a minute; 0 sets no limit
grpc.http2.max_security_frame_size|both|bytes|1048576|largest security frame to receive
grpc.http2.min_ping_interval_without_data_ms|server|-|300000 (5 min)|a PING sooner than this after the last one is a strike
grpc.http2.min_time_between_pings_ms|nobody|-|none|deprecated: has had no effect since keepalive alone decides when a
  client PINGs
grpc.http2.true_binary|both|flag|1|take binary metadata without base64
grpc.http2.write_buffer_size|both|bytes|65535|queued per stream for calls that ask for buffering
grpc.http2_scheme|client|-|http or https|the :scheme that calls carry
grpc.http_proxy|client|-|the environment's|HTTP CONNECT proxy
grpc.inhibit_health_checking|client|-|0|ignore the service config's healthCheckConfig
grpc.initial_reconnect_backoff_ms|client|-|1000 (at least 100)|from the first failed attempt to connect until the second
grpc.keepalive_permit_without_calls|both|-|0|client: PING without calls too; server: PINGs without calls are no abuse,
  and send them too
grpc.keepalive_time_ms|both|-|client: off; server: 7200000 (2 h)|silence after which a PING is sent; a client sends at
  most one a second
grpc.keepalive_timeout_ms|both|-|20000|TCP_USER_TIMEOUT: how long sent bytes may stay unacknowledged by the peer's kernel
grpc.lb.ring_hash.ring_size_cap|client|-|4096|largest ring of ring_hash
grpc.lb_policy_name|client|-|pick_first|load-balancing policy; a service config's comes first
grpc.loadreporting|nobody|flag|0|load reports that no part of it makes any more
grpc.max_allowed_incoming_connections|server|-|unlimited|connections at a time
grpc.max_channel_trace_event_memory_per_node|both|bytes|4096|channelz traces; 0 turns them off
grpc.max_concurrent_streams|server|-|unlimited|calls at a time per connection; further ones wait in the client
grpc.max_connection_age_grace_ms|server|-|unlimited|calls on a connection of age end after this
grpc.max_connection_age_ms|server|-|unlimited|age, ±10 %, at which clients are told to open a new connection
grpc.max_connection_idle_ms|server|-|unlimited|without calls for this long a connection is closed; a held stream is a call
grpc.max_connections_per_subchannel_cap|client|-|10|cap of the service config's connectionScaling
grpc.max_metadata_size|both|bytes|8192, or 0.8 x grpc.absolute_max_metadata_size|above this metadata is refused sometimes
grpc.max_receive_message_length|both|bytes|4194304 (4 MiB)|a larger message ends the call as RESOURCE_EXHAUSTED; -1 sets
  no limit
grpc.max_reconnect_backoff_ms|client|-|120000 (at least 100)|longest pause between two attempts to connect
grpc.max_send_message_length|both|bytes|-1 (unlimited)|a larger message is not sent: RESOURCE_EXHAUSTED
grpc.min_reconnect_backoff_ms|client|-|20000 (at least 100)|an attempt to connect may take this long, or the current
  back-off if that is longer
grpc.minimal_stack|both|-|0|leave optional filters out
grpc.mobile_log_context|nobody|-|none|logging of Objective-C
grpc.optimization_target|nobody|text|blend|latency, blend or throughput
grpc.per_message_compression|both|-|1|compress messages that ask for it
grpc.per_message_decompression|both|-|1|decompress messages
grpc.per_rpc_retry_buffer_size|client|bytes|262144|a call that sent more than this is not retried
grpc.primary_user_agent|client|-|set by grpcio|first part of the user agent
grpc.priority_failover_timeout_ms|client|-|10000|time of one priority to connect before the next
grpc.resource_quota|both|-|none|memory quota, a pointer of C
grpc.secondary_user_agent|client|-|none|last part of the user agent
grpc.security_frame_allowed|both|-|0|allow security frames
grpc.server.max_pending_requests|server|-|1000|queued calls above which some are refused
grpc.server.max_pending_requests_hard_limit|server|-|3000|queued calls above which all are refused
grpc.server_call_metric_recording|server|flag|0|let handlers report ORCA metrics
grpc.server_config_fetcher|server|-|none|xDS configuration, a pointer of C
grpc.server_handshake_timeout_ms|server|-|120000|a new connection's handshakes may take this long
grpc.server_max_unrequested_time_in_server|server|seconds|30|a call that no thread of the server picks up for this long
  is ended
grpc.service_config|client|-|none|retries, time-outs and load balancing as JSON; a resolver's own comes first
grpc.service_config_disable_resolution|client|-|1|ask no DNS TXT record for a service config
grpc.so_reuseport|server|flag|1 where the system can|other processes may listen on the same port, and share its
  connections silently
grpc.socket_factory|both|-|none|a pointer of C
grpc.socket_mutator|both|-|none|a pointer of C
grpc.ssl_session_cache|client|-|none|TLS sessions to resume, a pointer of C
grpc.ssl_target_name_override|client|-|none|name that the certificate is checked for, for tests
grpc.surface_user_agent|server|-|1|show handlers the user agent
grpc.tcp_receive_buffer_size|both|bytes|the system's|SO_RCVBUF
grpc.tcp_tracing_enabled|both|-|0|TCP telemetry
grpc.tsi.max_frame_size|both|bytes|0 (its own)|frame size of ALTS and TLS protection
grpc.use_cronet_packet_coalescing|nobody|-|none|Cronet's transport, which is gone
grpc.use_local_subchannel_pool|client|-|0|share no connection with other channels of the process
grpc.workaround.cronet_compression|nobody|-|none|Cronet's transport, which is gone
grpc.http2.ack_pings|both|-|1|answer PINGs, for tests of gRPC itself
grpc.http2.max_inflight_pings|both|-|1|PINGs that may be unanswered at a time; 0 sets no limit
grpc.http2.ping_on_rst_stream_percent|server|-|1|share of stream resets that send a PING, against floods
grpc.http2.ping_timeout_ms|both|-|60000|a PING unanswered for this long closes the connection
grpc.http2.settings_timeout|both|-|60000, or twice the keepalive time-out if that is longer|the peer must acknowledge
  SETTINGS within this
grpc.testing.fixed_reconnect_backoff_ms|client|-|none|one constant back-off and connect limit, for tests
grpc.xds_resource_does_not_exist_timeout_ms|client|-|15000|an xDS resource counts as absent after this
"""
