//! Rates, and what goes by the path of a page.

use std::time::Duration;

use super::{SHORTEST, assert_has, config, loaded, problem, refused, told};

#[test]
fn rates_are_sizes_for_each_second_and_off_by_default() {
    let limits = config("limits = { nar_rate = '10MiB', total_rate = '11MiB' }").limits;
    assert_eq!((limits.nar_rate, limits.total_rate), (Some(10 << 20), Some(11 << 20)));
    assert_has(&problem("limits.total_rate = '11MiB/s'"), &["for each second: write \"11MiB\""]);
    assert_has(&problem("limits.nar_rate = '1KiB'"), &["less than \"16KiB\" in a second"]);
    assert_has(&problem("limits.nar_rate = 'off'"), &["limits.nar_rate: expected a size"]);
    let warned = loaded(&format!("limits = {{ nar_rate = '12MiB', total_rate = '11MiB' }}\n{SHORTEST}"));
    assert_has(&warned.warnings.to_string(), &["may be sent more than `total_rate`"]);
}

#[test]
fn one_body_fits_into_the_room_for_all() {
    assert_has(&problem("limits.bodies = '1KiB'"), &["limits.bodies: all bodies together have less room"]);
    assert_has(&problem("limits.body = '1GiB'"), &["limits.body: all bodies together have less room"]);
    assert_eq!(config("limits = { body = '1GiB', bodies = '1GiB' }").limits.bodies, 1 << 30);
}

#[test]
fn how_often_a_client_may_ask_goes_by_the_path_of_a_page() {
    let limits = config(
        r#"
        [[limits.requests]]
        paths = ["/search", "/build/*/log"]
        rate = "30/m"
        [[limits.requests]]
        paths = ["/eval"]
        rate = "1/h"
        burst = 3
        "#,
    )
    .limits
    .requests;
    let paths: Vec<String> = limits[0].paths.iter().map(ToString::to_string).collect();
    assert_eq!(paths, ["/search", "/build/*/log"]);
    assert_eq!((limits[0].interval, limits[0].burst), (Duration::from_secs(2), 10));
    assert_eq!((limits[1].interval, limits[1].burst), (Duration::from_secs(3600), 3));
}

#[test]
fn some_pages_may_take_longer() {
    let routes = config("[[timeouts.route]]\npaths = ['/jobset', '/eval']\nread = '6m'").timeouts.routes;
    assert_eq!((routes.len(), routes[0].paths.len(), routes[0].read), (1, 2, Duration::from_secs(360)));
}

#[test]
fn what_is_said_about_no_page_is_refused() {
    for path in ["/nar", "/file/x", "/x.narinfo", "/nix-cache-info", "/static/css", "/robots.txt"] {
        for table in ["[[limits.requests]]\nrate = '1/s'", "[[timeouts.route]]\nread = '1s'"] {
            assert_has(&problem(&format!("{table}\npaths = ['{path}']")), &["is no page of the UI"]);
        }
    }
    for path in ["", "/", "search", "/search/", "/%73earch", "/sea*", "/x?y"] {
        assert_has(
            &problem(&format!("[[limits.requests]]\nrate = '1/s'\npaths = ['{path}']")),
            &["limits.requests.paths: expected a path such as"],
        );
    }
}

#[test]
fn a_table_that_says_too_little_or_too_much_is_told_so() {
    for (more, parts) in [
        ("[[limits.requests]]\npaths = ['/x']", ["limits.requests.rate: `rate` is missing", "30/m"]),
        ("[[limits.requests]]\nrate = '1/s'", ["limits.requests.paths: `paths` is missing", "/search"]),
        ("[[limits.requests]]\nrate = '1/s'\npaths = []", ["there is no path in it", "/search"]),
        ("[[timeouts.route]]\npaths = ['/x']", ["timeouts.route.read: `read` is missing", "6m"]),
        ("[[timeouts.route]]\npaths = ['/x']\nread = '0s'", ["must not be zero", "1ms"]),
        ("[limits.requests]\npaths = ['/x']\nrate = '1/s'", ["is a list of tables", "[[limits.requests]]"]),
        (
            "[[limits.requests]]\npaths = ['/x']\nrate = '1/s'\nbrust = 3",
            ["unknown key `brust` in [[limits.requests]]", "did you mean `burst`?"],
        ),
    ] {
        assert_has(&problem(more), &parts);
    }
    for rate in ["", "30", "30/d", "0/m", "-1/m", "+1/m", "1.5/m", "30 / m", "2000000/s"] {
        assert_has(
            &problem(&format!("[[limits.requests]]\npaths = ['/x']\nrate = '{rate}'")),
            &["limits.requests.rate: expected a number of requests and a time"],
        );
    }
    let all = refused(&format!("[[limits.requests]]\n[[limits.requests]]\nrate = 1\n{SHORTEST}"));
    assert_eq!(told(&all).len(), 4, "{all}");
}

#[test]
fn an_agent_is_a_part_of_a_name_and_not_of_everybodys() {
    assert_eq!(
        config("limits.refused_agents = ['GPTBot', 'Some Crawler/1']").limits.refused_agents,
        ["gptbot", "some crawler/1"]
    );
    for agent in ["", "ab", " bot", "b\\u0000ot", "bötchen", "Mozilla", "mozilla/5.0"] {
        assert_has(
            &problem(&format!("limits.refused_agents = [\"{agent}\"]")),
            &["limits.refused_agents: expected a part of the name of a program"],
        );
    }
}
