//! Lists in pages.

use serde::Deserialize;
use serde_json::{Value, json};

/// Records of a page, unless asked otherwise, and at most.
const DEFAULT_PER_PAGE: usize = 100;
const MAX_PER_PAGE: usize = 1000;

/// Which page of a list.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PageQuery {
    page: Option<usize>,
    per_page: Option<usize>,
}

impl PageQuery {
    /// That page of the records.
    pub(super) fn of(self, records: Vec<Value>) -> Value {
        let per_page = self.per_page.unwrap_or(DEFAULT_PER_PAGE).clamp(1, MAX_PER_PAGE);
        let (page, total) = (self.page.unwrap_or(1).max(1), records.len());
        let records: Vec<Value> =
            records.into_iter().skip((page - 1).saturating_mul(per_page)).take(per_page).collect();
        json!({
            "records": records,
            "paging": {
                "page": page,
                "perPage": per_page,
                "totalPages": total.div_ceil(per_page),
                "totalElements": total,
            },
            "navigation": {},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_cut_and_counted() {
        let records = |count: usize| (0..count).map(|n| json!(n)).collect::<Vec<Value>>();
        let page = PageQuery { page: Some(3), per_page: Some(2) }.of(records(5));
        assert_eq!(page["records"], json!([4]));
        assert_eq!(page["paging"]["totalPages"], 3);
        assert_eq!(page["paging"]["totalElements"], 5);
        let beyond = PageQuery { page: Some(usize::MAX), per_page: Some(0) }.of(records(5));
        assert_eq!(beyond["records"], json!([]));
    }
}
