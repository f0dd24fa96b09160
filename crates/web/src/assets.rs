//! The page itself: made from `web/` by `npm run build`, and compiled in.

/// A file of the page.
#[derive(Debug)]
pub(crate) struct Asset {
    pub(crate) path: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) bytes: &'static [u8],
}

pub(crate) const INDEX: &str = include_str!("../assets/index.html");
pub(crate) const SCRIPT: &str = include_str!("../assets/app.js");
pub(crate) const STYLE: &str = include_str!("../assets/app.css");

/// All files, by their address.
pub(crate) const ASSETS: &[Asset] = &[
    Asset {
        path: "/",
        kind: "text/html; charset=utf-8",
        bytes: INDEX.as_bytes(),
    },
    Asset {
        path: "/app.js",
        kind: "text/javascript; charset=utf-8",
        bytes: SCRIPT.as_bytes(),
    },
    Asset {
        path: "/app.css",
        kind: "text/css; charset=utf-8",
        bytes: STYLE.as_bytes(),
    },
];
