//! What has become stale: asked for again, validated, or used all the same.

use super::*;

#[tokio::test]
async fn rfc9111_4_3_1_what_is_stale_is_validated_with_both_validators() {
    let bench = Bench::new();
    let modified = "Tue, 01 Jul 2025 10:00:00 GMT";
    let origin = Scripted::new([
        Script::ok("max-age=0", "body").field("etag", "\"1\"").field("last-modified", modified),
        Script::ok("max-age=60", "").status(304).field("x-new", "1"),
    ]);
    bench.store(&origin, "/a").await;
    let validated = bench.ask(&origin, "/a", &[]).await.unwrap();
    assert_eq!((validated.status, &validated.body[..]), (200, &b"body"[..]));
    assert_eq!(validated.cache_status(), "farmgate; fwd=stale; fwd-status=304; stored; ttl=60");
    assert_eq!(origin.conditions.lock().unwrap()[1], ["if-none-match", "if-modified-since"]);
    bench.settled().await;
    assert_eq!(bench.ask(&origin, "/a", &[]).await.unwrap().headers["x-new"], "1");
    assert_eq!(origin.asked(), 2);
}

#[tokio::test]
async fn rfc9111_4_3_3_a_new_whole_replaces_what_is_stored() {
    let mut bench = Bench::new();
    let origin = Scripted::new([
        Script::ok("max-age=0", "old").field("etag", "\"1\""),
        Script::ok("max-age=60", "new").field("etag", "\"2\""),
    ]);
    bench.store(&origin, "/a").await;
    assert_eq!(bench.ask(&origin, "/a", &[]).await.unwrap().body, b"new");
    bench.settled().await;
    assert_eq!(bench.cache.list(&Purge::All).len(), 1);
    bench.reopen(&settings(1 << 30, 0));
    assert_eq!(bench.ask(&origin, "/a", &[]).await.unwrap().body, b"new");
    assert_eq!(origin.asked(), 2);
}

#[tokio::test]
async fn rfc9111_4_3_4_a_304_for_something_else_is_not_believed() {
    let bench = Bench::new();
    let origin = Scripted::new([
        Script::ok("max-age=0", "old").field("etag", "\"1\""),
        Script::ok("max-age=60", "").status(304).field("etag", "\"other\""),
        Script::ok("max-age=60", "new").field("etag", "\"other\""),
    ]);
    bench.store(&origin, "/a").await;
    assert_eq!(bench.ask(&origin, "/a", &[]).await.unwrap().body, b"new");
    assert_eq!(origin.conditions.lock().unwrap()[2], Vec::<String>::new());
}

#[tokio::test]
async fn rfc9111_4_3_4_a_304_that_forbids_storing_answers_once() {
    let bench = Bench::new();
    let origin = Scripted::new([
        Script::ok("max-age=0", "old").field("etag", "\"1\""),
        Script::ok("no-store", "").status(304),
        Script::ok("max-age=60", "new"),
    ]);
    bench.store(&origin, "/a").await;
    assert_eq!(bench.ask(&origin, "/a", &[]).await.unwrap().body, b"old");
    bench.settled().await;
    assert_eq!(bench.ask(&origin, "/a", &[]).await.unwrap().body, b"new");
}

#[tokio::test]
async fn rfc9111_4_many_who_find_it_stale_validate_once() {
    let bench = Bench::new();
    let origin = Scripted::new([
        Script::ok("max-age=0", "body").field("etag", "\"1\""),
        Script::ok("max-age=60", "").status(304),
    ]);
    bench.store(&origin, "/a").await;
    let answers = futures_join((0..30).map(|_| bench.ask(&origin, "/a", &[]))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().body == b"body"));
    assert_eq!(origin.asked(), 2);
}

#[tokio::test]
async fn rfc9111_4_3_4_what_a_304_gives_to_one_client_is_that_clients_alone() {
    for (name, value) in [("set-cookie", "who=one"), ("cache-control", "private, max-age=60")] {
        let bench = Bench::new();
        let origin = Scripted::new([
            Script::ok("max-age=0", "body").field("etag", "\"1\""),
            Script::ok("max-age=60", "").status(304).field(name, value),
            Script::ok("max-age=60", "new"),
        ]);
        bench.store(&origin, "/a").await;
        let answers = futures_join((0..10).map(|_| bench.ask(&origin, "/a", &[]))).await;
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        let has = |got: &&Got| got.headers.get_all(name).iter().any(|line| line == value);
        assert_eq!(answers.iter().filter(has).count(), 1, "{name}");
        assert_eq!(answers.iter().filter(|got| got.body == b"new").count(), 9, "{name}");
    }
}

#[tokio::test]
async fn rfc9111_4_a_fetch_under_way_is_joined_only_while_its_answer_may_be_reused() {
    for (says, wants, asked) in [
        ("max-age=60", "", 1),
        ("max-age=60", "min-fresh=61", 2),
        ("max-age=0", "", 2),
        ("max-age=0", "max-stale=9", 1),
        ("no-cache", "", 2),
    ] {
        let bench = Bench::new();
        let (go_on, held) = tokio::sync::watch::channel(false);
        let whole = Script::ok(says, "first second").field("etag", "\"1\"");
        let origin = Scripted::new([Script { held: Some(held), ..whole.unsized_in(2) }]);
        let later = async {
            // There is the head of an answer, and half of its body.
            while bench.cache.flights.matching(|_| true).is_empty() {
                tokio::task::yield_now().await;
            }
            bench.cache.flights.matching(|_| true)[0].landed().await;
            let fields = [("cache-control", wants)];
            let second = bench.ask(&origin, "/a", &fields);
            let release = async {
                // It has asked or joined after some turns, and waits for the rest then.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                go_on.send_replace(true);
            };
            tokio::join!(second, release).0
        };
        let (first, second) = tokio::join!(bench.ask(&origin, "/a", &[]), later);
        assert_eq!(
            (first.unwrap().body, second.unwrap().body),
            (b"first second".into(), b"first second".into())
        );
        assert_eq!(origin.asked(), asked, "{says} for {wants}");
    }
}

#[tokio::test]
async fn rfc5861_4_an_error_is_stood_in_for_and_does_not_push_out_what_can() {
    let bench = Bench::new();
    let kept = Script::ok("max-age=0, stale-if-error=60", "body");
    let origin = Scripted::new([kept, Script::ok("max-age=60", "busy").status(503)]);
    bench.store(&origin, "/a").await;
    for _ in 0..3 {
        let stale = bench.ask(&origin, "/a", &[]).await.unwrap();
        assert_eq!((stale.status, &stale.body[..]), (200, &b"body"[..]));
        assert!(stale.cache_status().contains("; fwd-status=503"), "{}", stale.cache_status());
        bench.settled().await;
    }
    origin.scripts.lock().unwrap().clear();
    assert_eq!(bench.ask(&origin, "/a", &[]).await.unwrap().body, b"body", "the backend is away");
    assert!(bench.ask(&origin, "/a", &[("cache-control", "no-cache")]).await.is_err());
}

#[tokio::test]
async fn rfc9111_5_2_2_2_what_must_be_revalidated_is_not_used_when_the_backend_is_away() {
    let bench = Bench::new();
    let origin = Scripted::new([
        Script::ok("max-age=0, must-revalidate, stale-if-error=60", "body").field("etag", "\"1\""),
        Script::ok("no-store", "busy").status(503),
    ]);
    bench.store(&origin, "/a").await;
    assert_eq!(bench.ask(&origin, "/a", &[("cache-control", "max-stale")]).await.unwrap().status, 503);
    origin.scripts.lock().unwrap().clear();
    assert!(bench.ask(&origin, "/a", &[]).await.is_err());
}

#[tokio::test]
async fn rfc5861_3_a_new_one_is_fetched_behind_the_stale_one() {
    let bench = Bench::new();
    let origin = Scripted::new([
        Script::ok("max-age=0, stale-while-revalidate=60", "old"),
        Script::ok("max-age=60", "new"),
    ]);
    bench.store(&origin, "/a").await;
    assert_eq!(bench.ask(&origin, "/a", &[]).await.unwrap().body, b"old");
    bench.settled().await;
    let new = bench.ask(&origin, "/a", &[]).await.unwrap();
    assert_eq!((&new.body[..], origin.asked()), (&b"new"[..], 2));
}

#[tokio::test]
async fn rfc9111_4_4_what_is_invalidated_is_asked_for_again() {
    let bench = Bench::new();
    let origin = Scripted::new([Script::ok("max-age=60", "body")]);
    for target in ["/a", "/b", "/c"] {
        bench.store(&origin, target).await;
    }
    let key = Key::new("site", "host", b"/a");
    bench.cache.invalidate(&key, 500, &headers(&[]));
    assert_eq!(bench.cache.list(&Purge::All).len(), 3, "a failure changes nothing");
    bench.cache.invalidate(
        &key,
        303,
        &headers(&[("location", "/b"), ("content-location", "http://other/c")]),
    );
    let left: Vec<_> = bench.cache.list(&Purge::All).into_iter().map(|item| item.target).collect();
    assert_eq!(left, ["/c"]);
}
