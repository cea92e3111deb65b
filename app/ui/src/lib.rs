//! What the pages share: the Memory page (`accel-app`) and the Kernel page (`accel-kernel-page`).
//!
//! The modules, ground first; each imports only from those before it:
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`built`] | views of one type, built at once |
//! | [`view`] | parts of views: conditions, tables, options, legends |
//! | [`number`] | numbers as people read them |
//! | [`theme`] | dark or light |
//! | [`address`] | the fragment of the address, and the button that copies the link |
//! | [`field`] | labelled fields |
//! | [`files`] | files that are dropped on the page |
//! | [`export`] | what is shown, as files |
//! | [`over`] | what lies above a chart and follows the pointer |
//! | [`chart`] | charts as SVG, in the colours of the style sheet |
//! | [`part`] | parts of a page whose code is loaded when it is first needed |
//! | [`module`] | the WASM modules that lie beside the page |
//! | [`worker`] | a page's worker, from both sides |
//! | [`run`] | where a run stands, and the bar that shows it |

pub mod address;
pub mod built;
pub mod chart;
pub mod export;
pub mod field;
pub mod files;
pub mod module;
pub mod number;
pub mod over;
pub mod part;
pub mod run;
pub mod theme;
pub mod view;
pub mod worker;
