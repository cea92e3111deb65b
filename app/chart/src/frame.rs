//! Where a chart lies in its drawing.

/// Space above a chart, in pixels.
pub const TOP: i32 = 18;
/// Space on the right of a chart, in pixels.
pub const RIGHT: i32 = 8;
/// Space below a chart for the labels of its axis, in pixels.
pub const LABELS: i32 = 20;
/// Space below a chart for the labels of its axis and its name, in pixels.
pub const LABELS_AND_NAME: i32 = 34;

/// The area of a chart between its axes, in pixels.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// The left edge.
    pub left: i32,
    /// The right edge.
    pub right: i32,
    /// The upper edge.
    pub top: i32,
    /// The lower edge.
    pub bottom: i32,
}

impl Frame {
    /// The frame in a drawing of `width` by `height`, with space for labels on the left and below.
    pub fn new(width: u32, height: u32, left: i32, below: i32) -> Self {
        Self { left, right: width as i32 - RIGHT, top: TOP, bottom: height as i32 - below }
    }

    /// The pixel at a share of the width, from the left.
    pub fn x(&self, share: f64) -> i32 {
        self.left + (f64::from(self.right - self.left) * share).round() as i32
    }

    /// The pixel at a share of the height, from below.
    pub fn y(&self, share: f64) -> i32 {
        self.bottom - (f64::from(self.bottom - self.top) * share).round() as i32
    }
}
