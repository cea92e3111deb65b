//! Charts as SVG, drawn with plotters: those of the page, which the command line draws as well.
//!
//! | module | what |
//! | --- | --- |
//! | [`frame`] | where a chart lies in its drawing |
//! | [`canvas`] | what it is painted on, and its colours |
//! | [`capacity`] | how misses fall as memory grows |
//! | [`ranking`] | what each policy fetches |
//! | [`heat`] | a table whose cells are shaded |
//! | [`front`] | what costs how much at which capacity, and what nothing beats |
//! | [`alone`] | a drawing that stands alone, as SVG or HTML |
//! | [`answer`] | what runs and curves answer, as such drawings |

pub mod alone;
pub mod answer;
pub mod canvas;
pub mod capacity;
pub mod frame;
pub mod front;
pub mod heat;
pub mod ranking;
