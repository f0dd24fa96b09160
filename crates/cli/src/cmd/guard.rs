//! `bftap guard`: a hand on the switch.

use std::io::{self, Write as _};

use anyhow::Context as _;
use bftap_guard::{Blocked, Measure, Order, Outcome};

use crate::args::{GuardBlockArgs, GuardCommand, GuardListArgs, GuardUnblockArgs};
use crate::exit::Status;
use crate::guarding::Guarding;
use crate::report::{Page, Table, count};
use crate::store_url;
use crate::term::{Level, Style, safe, tell};

/// Runs the command.
pub(crate) fn run(command: &GuardCommand) -> anyhow::Result<Status> {
    match command {
        GuardCommand::List(args) => list(args),
        GuardCommand::Block(args) => block(args),
        GuardCommand::Unblock(args) => unblock(args),
    }
}

fn list(args: &GuardListArgs) -> anyhow::Result<Status> {
    let guarding = Guarding::new(&args.switch, None)?;
    let list = guarding.guard().list()?;
    let text = if args.json {
        let mut text = serde_json::to_string_pretty(&list).context("cannot write JSON")?;
        text.push('\n');
        text
    } else {
        shown(&args.switch.bridge, &list, Style::of_stdout())
    };
    print(&text)?;
    Ok(Status::Complete)
}

fn shown(bridge: &str, list: &[Blocked], style: Style) -> String {
    let mut page = Page::new(style);
    page.heading("BLOCKED", &safe(bridge));
    let mut table = Table::new()
        .long_words("who")
        .long_words("addresses")
        .words("what gets through")
        .numbers("packets met")
        .numbers("dropped")
        .words("ends in");
    for blocked in list {
        let addresses: Vec<String> = blocked
            .ips
            .iter()
            .map(|ips| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            .collect();
        let through = match blocked.measure.as_str() {
            "drop" => "nothing",
            rate => rate,
        };
        table.row([
            safe(&blocked.nodes.join(" - ")).into_owned().into(),
            addresses.join(" - ").into(),
            through.into(),
            count(blocked.packets).into(),
            count(blocked.dropped).into(),
            blocked
                .seconds_left
                .map_or_else(|| "never".to_owned(), |seconds| format!("{seconds} s"))
                .into(),
        ]);
    }
    page.table(&table);
    if list.is_empty() {
        page.line("nothing");
    }
    page.into_text()
}

fn block(args: &GuardBlockArgs) -> anyhow::Result<Status> {
    let mut guarding = Guarding::new(&args.switch, Some(&args.quorum))?;
    if args.quorum.silent_from_store {
        let url = store_url::resolve(args.store.store.as_deref(), args.store.store_file.as_deref())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start")?;
        match runtime.block_on(guarding.silent_from(&url, args.quorum.store_age)) {
            Ok(said) => tell(Level::Note, &safe(&said)),
            // Nobody is known to be reached: only what takes nobody away needs no answer.
            Err(error) if args.force || !args.rate.is_none_or(Measure::starves) => {
                tell(
                    Level::Warning,
                    &safe(&format!("who is silent is not known: {error:#}")),
                );
            }
            Err(error) => {
                return Err(error.context("who is silent is not known; --force does it all the same"));
            }
        }
    }
    if args.rate.is_none_or(Measure::starves) {
        if !args.quorum.silent_from_store && args.quorum.silent.is_empty() {
            tell(
                Level::Note,
                "nobody counts as silent: --silent-from-store or --silent NAME say who does",
            );
        }
        if args.quorum.validators.is_empty() && !guarding.guard().validators.is_empty() {
            let text = format!(
                "all {} nodes of the nodes file count as validators; if some are none, say who is: --validators NAME,...",
                guarding.guard().validators.len()
            );
            tell(Level::Note, &text);
        }
    }
    let order = Order {
        target: guarding.target(&args.node)?,
        measure: args.rate.unwrap_or(Measure::Drop),
        ttl: args.ttl,
        force: args.force,
        dry_run: args.dry_run,
    };
    let outcome = guarding.guard().block(&order)?;
    let what = match (&order.measure, order.ttl) {
        (Measure::Drop, 0) => "blocked until it is unblocked".to_owned(),
        (Measure::Drop, ttl) => format!("blocked for {ttl} s"),
        (_, 0) => "limited until it is unblocked".to_owned(),
        (_, ttl) => format!("limited for {ttl} s"),
    };
    say(&outcome, &format!("{}: {what}", order.target.words()))
}

fn unblock(args: &GuardUnblockArgs) -> anyhow::Result<Status> {
    let guarding = Guarding::new(&args.switch, None)?;
    let target = if args.all {
        None
    } else {
        Some(guarding.target(&args.node)?)
    };
    let outcome = guarding.guard().unblock(target.as_ref(), args.dry_run)?;
    let who = target.map_or_else(|| "everything".to_owned(), |target| target.words());
    say(&outcome, &format!("{who}: unblocked"))
}

fn say(outcome: &Outcome, done: &str) -> anyhow::Result<Status> {
    for remark in &outcome.remarks {
        tell(Level::Note, remark);
    }
    if outcome.done {
        print(&format!("{}\n", safe(done)))?;
    } else {
        let mut text = String::new();
        for command in &outcome.commands {
            text.push_str(command);
            text.push('\n');
        }
        print(&text)?;
    }
    Ok(Status::Complete)
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write")
}
