//! Why interfaces cannot be read.

use std::io;

/// Why reading from interfaces cannot begin, or an interface cannot be read at the moment.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// Nothing to read from.
    #[error("no interface is named")]
    NoneNamed,
    /// Packets would count twice.
    #[error("the interface {interface} is named twice")]
    NamedTwice {
        /// Its name.
        interface: String,
    },
    /// Not one of them is there.
    #[error("no such interface is there and up: {interfaces}; `ip link` lists those of this machine")]
    NoneThere {
        /// Their names.
        interfaces: String,
    },
    /// Not a name that an interface can have.
    #[error("{interface:?} is no name of an interface")]
    Name {
        /// As it was given.
        interface: String,
    },
    /// It is not there, or not up.
    #[error("{why}")]
    Away {
        /// In words.
        why: String,
    },
    /// The system does not let us.
    #[error(
        "not allowed to capture on {interface}: run as root, or give the program the right once: \
         setcap cap_net_raw,cap_net_admin+ep PROGRAM ({why})"
    )]
    Denied {
        /// Its name.
        interface: String,
        /// What libpcap says.
        why: String,
    },
    /// Anything else that libpcap says.
    #[error("cannot capture on {interface}: {why}")]
    Open {
        /// Its name.
        interface: String,
        /// What libpcap says.
        why: String,
    },
    /// The user's filter.
    #[error(
        "the filter does not compile for {interface}: {why}; its language is that of tcpdump (man pcap-filter)"
    )]
    Filter {
        /// Its name.
        interface: String,
        /// What libpcap says.
        why: String,
    },
    /// No thread to read it.
    #[error("cannot start a thread to read an interface: {0}")]
    Thread(#[source] io::Error),
}
