//! What tests of several modules need.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Fields, in this order.
pub fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    map
}
