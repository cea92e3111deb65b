//! Closed lists on their way between the page, its worker and its modules.

use accel_core::closed::Closed;
use accel_core::import::Format;
use accel_core::policy::{Admission, PolicyKind};
use accel_core::trace::{Kind, Mode, Op};
use accel_core::workload::dtype::Dtype;
use accel_core::workload::plan::Dataflow;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value is a byte, and comes back as it was; in JSON it is its name.
#[test]
fn values_cross_as_one_byte() {
    fn check<T: Closed + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned>() {
        for (place, value) in T::ALL.iter().enumerate() {
            let bytes = postcard::to_allocvec(value).unwrap();
            assert_eq!(bytes, [place as u8], "{value:?}");
            assert_eq!(postcard::from_bytes::<T>(&bytes).unwrap(), *value);
            assert_eq!(serde_json::to_string(value).unwrap(), format!("\"{}\"", value.name()));
        }
        assert!(postcard::from_bytes::<T>(&[250]).is_err());
    }
    check::<Kind>();
    check::<Op>();
    check::<Mode>();
    check::<PolicyKind>();
    check::<Format>();
    check::<Admission>();
    check::<Dtype>();
    check::<Dataflow>();
}
