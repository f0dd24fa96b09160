//! The built-in page: what is stored, for a browser.
//!
//! - [`Server`]: HTTP on a thread of its own, loopback by default; over TLS with a token for anybody else.
//! - [`Ask`]: an address of the JSON API (`docs/web-api.md`), and [`answer`]: what a store says to it. The page asks the server; a
//!   page in a file has the same answers with it ([`page_file`]), and [`figures`] are drawn from them. So all show the same.
//!
//! Reading only: nothing here can change a store, and no secret is in one.

mod answers;
mod ask;
mod assets;
mod cache;
mod figures;
mod file;
mod gate;
mod pool;
mod problem;
mod runs;
#[cfg(test)]
mod sample;
mod server;
mod service;
mod tls;

pub use answers::answer;
pub use ask::{Ask, Asked};
pub use figures::{Figure, figures};
pub use file::{PageFile, page_file};
pub use gate::{Access, Token};
pub use pool::{Compare, Comparing};
pub use problem::Problem;
pub use server::{Options, Server};
