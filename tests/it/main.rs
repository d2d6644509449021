//! The one integration binary: the built program beside real clients and servers, on networks that the tests make
//! themselves. [`lab`] makes the networks; one file per room holds the proofs.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by failing, and measures real time"
)]

mod agent;
mod arp;
mod attack;
mod attack_wire;
mod canary;
mod crash;
mod demo;
mod dhcp_fleet;
mod dhcp_hooks;
mod dhcp_hostile;
mod dhcp_lan;
mod dhcp_observe;
mod dhcp_peers;
mod dhcp_search;
mod dhcp_served;
mod dhcp_server;
mod dhcp_snippet;
mod dhcp_verify;
mod dhcp_voice;
mod doctor;
mod every_vendor;
mod files;
mod firmware;
mod http;
mod https;
mod keys;
mod lab;
mod menu;
mod neighbours;
mod network;
mod pbx;
mod phone;
mod point;
mod push;
mod rearm;
mod release;
mod release_lives;
mod release_tftp;
mod release_who;
mod release_window;
mod rest;
mod rival;
mod scan;
mod scan_rest;
mod scenarios;
mod second_life;
mod services;
mod sipp;
mod tftp;
mod transfers;
mod why;
