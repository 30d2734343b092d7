//! One fuzzer. Each binary has all the targets compiled in, and runs one.

#[allow(dead_code)]
#[path = "targets.rs"]
pub mod targets;

/// The fuzzer of `targets::$name`, in a folder of its own.
#[macro_export]
macro_rules! fuzzer {
    ($name:ident) => {
        use std::cell::RefCell;

        use fuzzer::targets;

        thread_local! {
            static TARGET: RefCell<targets::Target> = {
                // Never removed: a fuzzer does not end, it is ended.
                let folder = tempfile::tempdir().expect("a folder").keep();
                RefCell::new(targets::$name(&folder))
            };
        }

        libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET.with_borrow_mut(|target| target(data)));
    };
}
