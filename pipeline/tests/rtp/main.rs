//! The RTP receiver seen from outside: datagrams and time in, a party's audio out.

mod drift;
mod hold;
mod network;
mod opus;
mod scenarios;
mod sender;
