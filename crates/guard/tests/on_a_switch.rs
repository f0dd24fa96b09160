//! What the rules do on a real switch: packets that do not arrive, and that arrive again.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use bftap_analysis::quorum::Threshold;
use bftap_guard::{Blocked, Bridge, Guard, GuardError, Measure, Order, Party, SwitchError, Target};
use bftap_testkit::ovs::Switch;

fn guard(switch: &Switch, validators: u32) -> Guard {
    Guard {
        bridge: Bridge {
            name: "br0".to_owned(),
            db: Some(switch.db()),
            openflow: None,
        },
        validators: (1..=validators).map(|node| party(switch, node)).collect(),
        silent: BTreeSet::new(),
        threshold: Threshold::CeilTwoThirdsAllBelowFour,
    }
}

fn party(switch: &Switch, node: u32) -> Party {
    Party {
        name: format!("cn{node}"),
        ips: vec![
            switch.ip(node).parse().unwrap(),
            switch.ip6(node).parse().unwrap(),
        ],
    }
}

fn order(target: Target) -> Order {
    Order {
        target,
        measure: Measure::Drop,
        ttl: 300,
        force: false,
        dry_run: false,
    }
}

fn node(switch: &Switch, number: u32) -> Target {
    Target::Node(party(switch, number))
}

fn pair(switch: &Switch, a: u32, b: u32) -> Target {
    Target::Pair(party(switch, a), party(switch, b))
}

/// With a generous limit: the first packet of a pair takes its time.
fn eventually(what: &str, done: impl Fn() -> bool) {
    for _ in 0..300 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(200));
    }
    panic!("not within a minute: {what}");
}

fn names(list: &[Blocked]) -> Vec<Vec<String>> {
    let mut names: Vec<_> = list
        .iter()
        .map(|blocked| {
            let mut nodes = blocked.nodes.clone();
            nodes.sort();
            nodes
        })
        .collect();
    names.sort();
    names
}

#[test]
fn a_block_stops_packets_of_both_kinds_until_it_is_lifted_or_over() {
    let Some(switch) = Switch::start(4) else { return };
    let guard = guard(&switch, 4);
    for to in 2..=4 {
        eventually("all reach all", || {
            switch.reaches(1, &switch.ip(to)) && switch.reaches(1, &switch.ip6(to))
        });
    }

    // A dry run changes nothing, and says what would be done.
    let before = switch.must("ovs-ofctl -O OpenFlow13 dump-flows unix:$D/br0.mgmt | grep -c cookie");
    let dry = guard
        .block(&Order {
            dry_run: true,
            ..order(node(&switch, 1))
        })
        .unwrap();
    assert!(
        !dry.done && dry.commands[0].contains("nw_src=10.99.0.1,actions=drop"),
        "{dry:?}"
    );
    assert_eq!(
        switch.must("ovs-ofctl -O OpenFlow13 dump-flows unix:$D/br0.mgmt | grep -c cookie"),
        before
    );
    assert!(guard.list().unwrap().is_empty());

    let done = guard.block(&order(node(&switch, 1))).unwrap();
    assert!(
        done.done && done.remarks.iter().any(|text| text.contains("not authenticated")),
        "{done:?}"
    );
    assert!(
        done.remarks
            .iter()
            .any(|text| text.contains("3 of 4 validators still reach")),
        "{done:?}"
    );
    assert!(!switch.reaches(1, &switch.ip(2)) && !switch.reaches(1, &switch.ip6(2)));
    assert!(!switch.reaches(2, &switch.ip(1)), "in the other direction too");
    assert!(
        switch.reaches(2, &switch.ip(3)) && switch.reaches(3, &switch.ip6(4)),
        "nobody else"
    );
    // Seen inside the other namespace: nothing of it arrives.
    let got = switch.received(2);
    assert_eq!(switch.echoes(1, &switch.ip(2), 20, 0.02), 0);
    assert!(
        switch.received(2) - got < 10,
        "neighbours' talk at most, not twenty packets"
    );
    let list = guard.list().unwrap();
    assert_eq!(names(&list), [["cn1"]]);
    assert!(
        list[0].dropped >= 20 && list[0].measure == "drop" && list[0].rules == 4,
        "{list:?}"
    );
    assert!(list[0].seconds_left.is_some_and(|left| left <= 300), "{list:?}");

    // One more would leave two of four.
    let refused = guard.block(&order(node(&switch, 2))).unwrap_err();
    assert!(matches!(refused, GuardError::Quorum(_)), "{refused}");
    let text = refused.to_string();
    assert!(
        text.contains("2 would be left")
            && text.contains("3 are needed")
            && text.contains("cn1 is blocked already"),
        "{text}"
    );
    assert!(switch.reaches(2, &switch.ip(3)));
    let forced = Order {
        force: true,
        ..order(node(&switch, 2))
    };
    assert!(
        guard
            .block(&forced)
            .unwrap()
            .remarks
            .iter()
            .any(|text| text.starts_with("forced"))
    );
    assert!(!switch.reaches(2, &switch.ip(3)));
    guard.unblock(Some(&node(&switch, 2)), false).unwrap();

    guard.unblock(Some(&node(&switch, 1)), false).unwrap();
    eventually("unblocked", || {
        switch.reaches(1, &switch.ip(2)) && switch.reaches(1, &switch.ip6(2))
    });
    assert!(matches!(
        guard.unblock(Some(&node(&switch, 1)), false),
        Err(GuardError::NotBlocked(_))
    ));

    // Its time is over by itself.
    let short = Order {
        ttl: 15,
        ..order(node(&switch, 1))
    };
    guard.block(&short).unwrap();
    assert!(!switch.reaches(1, &switch.ip(2)));
    eventually("the TTL", || guard.list().unwrap().is_empty());
    eventually("restored", || switch.reaches(1, &switch.ip(2)));
}

#[test]
fn a_pair_is_kept_apart_and_counts_as_one_that_is_left_out() {
    let Some(switch) = Switch::start(4) else { return };
    let guard = guard(&switch, 4);
    guard.block(&order(pair(&switch, 1, 2))).unwrap();
    assert!(!switch.reaches(1, &switch.ip(2)) && !switch.reaches(2, &switch.ip6(1)));
    eventually("others", || {
        switch.reaches(1, &switch.ip(3)) && switch.reaches(2, &switch.ip6(3))
    });
    let list = guard.list().unwrap();
    assert_eq!(names(&list), [["cn1", "cn2"]]);
    assert_eq!(list[0].rules, 4, "{list:?}");
    // 1 or 2 is left out already; another pair with 1 costs nothing more, one without does.
    guard.block(&order(pair(&switch, 1, 3))).unwrap();
    let refused = guard.block(&order(pair(&switch, 3, 4))).unwrap_err().to_string();
    assert!(
        refused.contains("cn1 and cn2 are kept apart already"),
        "{refused}"
    );
    assert_eq!(names(&guard.list().unwrap()), [["cn1", "cn2"], ["cn1", "cn3"]]);
    // A silent validator is as good as blocked.
    let mut careful = guard.clone();
    careful.silent.insert("cn4".to_owned());
    careful.unblock(None, false).unwrap();
    let refused = careful
        .block(&order(pair(&switch, 1, 2)))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("cn4 is silent"), "{refused}");
    careful.block(&order(node(&switch, 4))).unwrap();
    assert_eq!(
        names(&careful.list().unwrap()),
        [["cn4"]],
        "who is silent can be blocked"
    );
    // A limit that leaves a validator next to nothing is a block by another name; a generous one is none.
    let limit = |rate| Order {
        measure: Measure::PacketsPerSecond(rate),
        ..order(node(&switch, 1))
    };
    assert!(matches!(careful.block(&limit(1)), Err(GuardError::Quorum(_))));
    careful.block(&limit(5000)).unwrap();
    careful.unblock(None, false).unwrap();

    // Two orders at once: each alone is allowed, both together are not.
    let guard = self::guard(&switch, 4);
    let blocked = thread::scope(|scope| {
        let orders = [1, 2].map(|number| {
            let (guard, target) = (&guard, node(&switch, number));
            scope.spawn(move || guard.block(&order(target)).is_ok())
        });
        orders.map(|order| order.join().unwrap())
    });
    assert_eq!(
        blocked.iter().filter(|blocked| **blocked).count(),
        1,
        "{blocked:?}"
    );
}

#[test]
fn a_meter_lets_through_what_it_says_and_goes_with_its_rules() {
    let Some(switch) = Switch::start(4) else { return };
    let guard = guard(&switch, 4);
    eventually("1 reaches 2", || switch.reaches(1, &switch.ip(2)));
    let limit = Order {
        measure: Measure::PacketsPerSecond(20),
        ..order(node(&switch, 1))
    };
    let done = guard.block(&limit).unwrap();
    assert!(
        done.commands[0].contains("add-meter") && done.commands[0].contains("rate=20"),
        "{done:?}"
    );
    let got = switch.echoes(1, &switch.ip(2), 400, 0.005);
    // Two seconds at 200 packets/s, with 20 let through: some get through, most do not.
    assert!((10..=350).contains(&got), "{got} of 400");
    let list = guard.list().unwrap();
    assert_eq!(list[0].measure, "20 packets/s");
    assert!(list[0].dropped > 50, "{list:?}");
    // The limit in place of another, and a block in place of a limit.
    let slower = Order {
        measure: Measure::KilobitsPerSecond(100),
        ..limit.clone()
    };
    guard.block(&slower).unwrap();
    assert_eq!(guard.list().unwrap()[0].measure, "100 kbit/s");
    guard.block(&order(node(&switch, 1))).unwrap();
    let list = guard.list().unwrap();
    assert_eq!((list.len(), list[0].measure.as_str()), (1, "drop"));
    let meters = switch.must("ovs-ofctl -O OpenFlow13 dump-meters unix:$D/br0.mgmt");
    assert!(!meters.contains("meter=47"), "{meters}");
    // One whose time is over leaves a meter, which the next order takes away.
    guard.block(&Order { ttl: 1, ..limit }).unwrap();
    eventually("the TTL", || guard.list().unwrap().is_empty());
    guard.unblock(None, false).unwrap();
    let meters = switch.must("ovs-ofctl -O OpenFlow13 dump-meters unix:$D/br0.mgmt");
    assert!(!meters.contains("meter=47"), "{meters}");
}

#[test]
fn rules_outlive_a_controller_that_reconnects_and_are_found_again() {
    let Some(switch) = Switch::start(4) else { return };
    let controller = switch.must("command -v ovs-testcontroller || true");
    if controller.is_empty() {
        assert!(
            std::env::var_os("CI").is_none(),
            "ovs-testcontroller is not installed"
        );
        eprintln!("NOT TESTED: ovs-testcontroller is not installed");
        return;
    }
    let start = "ovs-testcontroller punix:$D/ctl.sock --detach --no-chdir --pidfile=$D/ctl.pid --log-file=$D/ctl.log --unixctl=$D/ctl.ctl";
    switch.must(start);
    switch.must(
        "ovs-vsctl --db=unix:$D/db.sock set-fail-mode br0 secure -- set-controller br0 unix:$D/ctl.sock",
    );
    // With newer versions this controller sends packets that the switch refuses.
    switch.must("ovs-vsctl --db=unix:$D/db.sock set bridge br0 protocols=OpenFlow10,OpenFlow13");
    eventually("the controller forwards", || switch.reaches(1, &switch.ip(2)));
    let guard = guard(&switch, 4);
    guard.block(&order(node(&switch, 1))).unwrap();
    assert!(!switch.reaches(1, &switch.ip(2)));
    switch.must("kill $(cat $D/ctl.pid); while [ -e $D/ctl.pid ]; do sleep 0.1; done");
    switch.must(start);
    eventually("the controller is back", || switch.reaches(2, &switch.ip(3)));
    // Another guard, that has never seen these rules.
    assert_eq!(names(&self::guard(&switch, 4).list().unwrap()), [["cn1"]]);
    assert!(!switch.reaches(1, &switch.ip(2)));
    guard.unblock(None, false).unwrap();
    eventually("unblocked", || switch.reaches(1, &switch.ip(2)));
}

#[test]
fn what_cannot_be_done_is_told_for_a_person() {
    let Some(switch) = Switch::start(1) else { return };
    let mut guard = guard(&switch, 4);
    let no_limit = Order {
        ttl: 0,
        ..order(node(&switch, 1))
    };
    assert!(matches!(guard.block(&no_limit), Err(GuardError::ForEver)));
    let too_long = Order {
        ttl: 70_000,
        ..order(node(&switch, 1))
    };
    assert!(matches!(guard.block(&too_long), Err(GuardError::Ttl(70_000))));
    let nobody = Guard {
        validators: Vec::new(),
        ..guard.clone()
    };
    assert!(matches!(
        nobody.block(&order(node(&switch, 1))),
        Err(GuardError::Unknown)
    ));
    guard.bridge.name = "br9".to_owned();
    let error = guard.list().unwrap_err();
    assert_eq!(error.to_string(), "there is no bridge br9: there are br0");
    guard.bridge.name = "-x".to_owned();
    assert!(matches!(
        guard.list(),
        Err(GuardError::Switch(SwitchError::Name(_)))
    ));
    guard.bridge = Bridge {
        name: "br0".to_owned(),
        db: Some("unix:/nowhere/db.sock".to_owned()),
        openflow: None,
    };
    let error = guard.list().unwrap_err().to_string();
    assert!(
        error.contains("cannot reach the switch") && error.contains("root"),
        "{error}"
    );
    guard.bridge.db = Some(switch.db());
    switch.must("ovs-vsctl --db=unix:$D/db.sock set bridge br0 protocols=OpenFlow10");
    let error = guard.list().unwrap_err().to_string();
    assert!(error.contains("protocols=OpenFlow10,OpenFlow13"), "{error}");
    // What is not understood is not taken for nothing.
    switch.must(
        "ovs-vsctl --db=unix:$D/db.sock set bridge br0 protocols=OpenFlow10,OpenFlow13 && \
         ovs-ofctl -O OpenFlow13 add-flow unix:$D/br0.mgmt cookie=0xbf7a000000000005,ip,nw_src=10.0.0.0/8,actions=drop",
    );
    assert!(matches!(guard.list(), Err(GuardError::Strange(_))));
}
