import type { ChannelOptions } from '@grpc/grpc-js';
import { SESSION_CALLS } from '#common/limits/message-limits.ts';

/** Largest message either way; what goes into one is limited so that it fits with room to spare (message-limits.ts). */
export const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

/** A batch travels without waiting for the receiver's leave; the transport's default is 64 KiB. */
const FLOW_CONTROL_WINDOW_BYTES = 4 * 1024 * 1024;

/** Options of every server of ours. Keepalive finds dead peers in seconds, the age makes them present a fresh certificate. */
export const SERVER_CHANNEL_OPTIONS: ChannelOptions = {
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_concurrent_streams': SESSION_CALLS,
  'grpc.max_connection_age_ms': 3_600_000,
  'grpc.max_connection_age_grace_ms': 30_000,
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.enable_channelz': 0,
  'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
};

/** Options of every client of ours. The short back-off brings a restarted service back within a second. */
export const CLIENT_CHANNEL_OPTIONS: ChannelOptions = {
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 3_000,
  'grpc.enable_channelz': 0,
  'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
  'grpc.enable_retries': 0,
  // A restarted container may come back under another address.
  'grpc.dns_min_time_between_resolutions_ms': 1_000,
  'grpc.service_config_disable_resolution': 1,
};
