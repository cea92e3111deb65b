//! What lies above a chart: the line at the pointer, the part that is brushed, and a handle to drag.

use std::sync::Arc;

use accel_chart::frame::Frame;
use leptos::ev::{KeyboardEvent, PointerEvent};
use leptos::html::Div;
use leptos::prelude::*;

use crate::built::{Build, Built};
use crate::view::yes;

/// A place in a chart: shares of its width from the left and of its height from above, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// From the left.
    pub x: f64,
    /// From above.
    pub y: f64,
}

/// What a place means, in words.
pub type Read = Arc<dyn Fn(Point) -> String + Send + Sync>;
/// What a place, or the part between two shares of the width, does.
pub type Do<T> = Arc<dyn Fn(T) + Send + Sync>;

/// What lies above a chart.
pub struct Over {
    /// Where the chart lies in a drawing of a width.
    pub frame: Arc<dyn Fn(u32) -> Frame + Send + Sync>,
    /// The place that is read: charts that share it are read together.
    pub at: RwSignal<Option<Point>>,
    /// Columns and rows that the arrow keys go through.
    pub steps: (usize, usize),
    /// What is read there.
    pub read: Read,
    /// What it says where nothing is read.
    pub hint: &'static str,
    /// What brushing a part does.
    pub brushed: Option<Do<(f64, f64)>>,
    /// What a click does.
    pub picked: Option<Do<Point>>,
    /// A line to drag.
    pub handle: Option<Handle>,
}

/// A line to drag across a chart.
#[derive(Clone)]
pub struct Handle {
    /// What it sets.
    pub label: &'static str,
    /// Where it stands, as a share of the width; none where it is out of sight.
    pub at: Signal<Option<f64>>,
    /// What it is set to, in words.
    pub text: Signal<String>,
    /// Sets it while it is dragged.
    pub moved: Do<f64>,
    /// It was let go of.
    pub dropped: Do<()>,
}

/// How far the handle goes at a press of an arrow key.
const HANDLE_STEP: f64 = 0.02;
/// Pixels that a pointer may move during a click.
const STILL_PX: f64 = 5.0;

impl Over {
    /// The layer above a chart that is drawn at `width`, and the line that says what is read.
    pub(crate) fn view(self, label: &'static str, width: RwSignal<u32>) -> (Built, Built) {
        let Self { frame, at, steps, read, hint, brushed, picked, handle } = self;
        let place = NodeRef::<Div>::new();
        let frame = Signal::derive(move || frame(width.get()));
        // Where a brush began, and the part that it covers.
        let begun = StoredValue::new(None::<(f64, f64)>);
        let part = RwSignal::new(None::<(f64, f64)>);
        let brushes = brushed.is_some();
        let point = move |event: &PointerEvent| point_of(place, &frame.get_untracked(), event);
        let moved = move |event: PointerEvent| {
            let Some(now) = point(&event) else { return };
            at.set(inside(now).then_some(now));
            if let Some((from, _)) = begun.get_value().filter(|_| brushes) {
                let to = now.x.clamp(0.0, 1.0);
                part.set(Some((from.min(to), from.max(to))));
            }
        };
        let pressed = move |event: PointerEvent| {
            let Some(now) = point(&event).filter(|now| inside(*now)) else { return };
            at.set(Some(now));
            begun.set_value(Some((now.x, f64::from(event.client_x()))));
            if let (true, Some(place)) = (brushes && event.pointer_type() == "mouse", place.get_untracked()) {
                // Without it the brush ends at the edge of the chart.
                let _ = place.set_pointer_capture(event.pointer_id());
            }
        };
        let act = move |part: Option<(f64, f64)>, at: Option<Point>| match (part, at, &brushed, &picked) {
            (Some(part), _, Some(brushed), _) => brushed(part),
            (None, Some(at), _, Some(picked)) => picked(at),
            _ => {}
        };
        let act = StoredValue::new_local(act);
        let let_go = move |event: PointerEvent| {
            let begun = begun.try_update_value(Option::take).flatten();
            let brushed = part.get_untracked();
            part.set(None);
            let Some((_, pressed_x)) = begun else { return };
            let still = (f64::from(event.client_x()) - pressed_x).abs() < STILL_PX;
            act.with_value(|act| act(brushed.filter(|_| !still), point(&event)));
        };
        let left = move |event: PointerEvent| {
            // A finger that was lifted leaves what it read.
            if event.pointer_type() == "mouse" {
                at.set(None);
            }
        };
        let key = move |event: KeyboardEvent| {
            let (columns, rows) = (steps.0.max(1) as f64, steps.1.max(1) as f64);
            let old = at.get_untracked().unwrap_or(Point { x: 0.5 / columns, y: 0.5 / rows });
            let step = |x: f64, y: f64| Point {
                x: (old.x + x / columns).clamp(0.5 / columns, 1.0 - 0.5 / columns),
                y: (old.y + y / rows).clamp(0.5 / rows, 1.0 - 0.5 / rows),
            };
            let new = match event.key().as_str() {
                "ArrowLeft" => step(-1.0, 0.0),
                "ArrowRight" => step(1.0, 0.0),
                "ArrowUp" if steps.1 > 1 => step(0.0, -1.0),
                "ArrowDown" if steps.1 > 1 => step(0.0, 1.0),
                "Home" => step(-columns, 0.0),
                "End" => step(columns, 0.0),
                "Enter" => {
                    event.prevent_default();
                    let brushed = part.get_untracked();
                    part.set(None);
                    begun.set_value(None);
                    return act.with_value(|act| act(brushed, Some(old)));
                }
                "Escape" => {
                    part.set(None);
                    begun.set_value(None);
                    return at.set(None);
                }
                _ => return,
            };
            event.prevent_default();
            match event.shift_key() && brushes {
                true => {
                    let from = begun.get_value().map_or(old.x, |(from, _)| from);
                    begun.set_value(Some((from, 0.0)));
                    part.set(Some((from.min(new.x), from.max(new.x))));
                }
                false => {
                    begun.set_value(None);
                    part.set(None);
                }
            }
            at.set(Some(new));
        };
        let reading = Signal::derive(move || at.get().map(|at| read(at)).unwrap_or_default());
        let x = move |share: f64| {
            let Frame { left, right, .. } = frame.get();
            f64::from(left) + f64::from(right - left) * share
        };
        let top = move || px(f64::from(frame.get().top));
        let height = move || px(f64::from(frame.get().bottom - frame.get().top));
        let now = move || at.with(|at| at.map_or(0.0, |at| 100.0 * at.x)).round().to_string();
        let over = view! {
            <div
                class="over"
                node_ref=place
                class:brushes=brushes
                tabindex="0"
                role="slider"
                aria-label=format!("Read: {label}")
                aria-valuemin="0"
                aria-valuemax="100"
                aria-valuenow=now
                aria-valuetext=reading
                on:pointermove=moved
                on:pointerdown=pressed
                on:pointerup=let_go
                on:pointerleave=left
                on:keydown=key
            >
                <i
                    class="cross"
                    hidden=yes(move || at.with(Option::is_none))
                    style:left=move || px(x(at.get().map_or(0.0, |at| at.x)))
                    style:top=top
                    style:height=height
                ></i>
                <i
                    class="brush"
                    hidden=yes(move || part.with(Option::is_none))
                    style:left=move || px(x(part.get().map_or(0.0, |part| part.0)))
                    style:width=move || px(part.get().map_or(0.0, |(from, to)| x(to) - x(from)))
                    style:top=top
                    style:height=height
                ></i>
            </div>
            {handle.map(|handle| handle.view(frame))}
        };
        let reading = view! {
            <p class="hint reading">
                {move || match reading.get() {
                    text if text.is_empty() => hint.to_owned(),
                    text => text,
                }}
            </p>
        };
        (over.built(), reading.built())
    }
}

impl Handle {
    fn view(self, frame: Signal<Frame>) -> Built {
        let Self { label, at, text, moved, dropped } = self;
        let place = NodeRef::<Div>::new();
        let dragged = StoredValue::new(false);
        let share = move |event: &PointerEvent| {
            // The chart is what the handle lies in.
            let chart = place.get_untracked()?.parent_element()?.get_bounding_client_rect();
            let Frame { left, right, .. } = frame.get_untracked();
            let x = f64::from(event.client_x()) - chart.left() - f64::from(left);
            Some((x / f64::from((right - left).max(1))).clamp(0.0, 1.0))
        };
        let (by_key, by_pointer) = (Arc::clone(&moved), moved);
        let (key_up, pointer_up) = (Arc::clone(&dropped), dropped);
        let key = move |event: KeyboardEvent| {
            let Some(now) = at.get_untracked() else { return };
            let to = match event.key().as_str() {
                "ArrowLeft" | "ArrowDown" => now - HANDLE_STEP,
                "ArrowRight" | "ArrowUp" => now + HANDLE_STEP,
                "Home" => 0.0,
                "End" => 1.0,
                "Enter" => return key_up(()),
                _ => return,
            };
            event.prevent_default();
            by_key(to.clamp(0.0, 1.0));
        };
        let left = move || {
            let Frame { left, right, .. } = frame.get();
            px(f64::from(left) + f64::from(right - left) * at.get().unwrap_or_default())
        };
        let now = move || at.get().map_or(0.0, |at| 100.0 * at).round().to_string();
        view! {
            <div
                class="handle"
                node_ref=place
                tabindex="0"
                role="slider"
                aria-label=label
                aria-valuemin="0"
                aria-valuemax="100"
                aria-valuenow=now
                aria-valuetext=text
                hidden=yes(move || at.with(Option::is_none))
                style:left=left
                style:top=move || px(f64::from(frame.get().top))
                style:height=move || px(f64::from(frame.get().bottom - frame.get().top))
                on:pointerdown=move |event: PointerEvent| {
                    dragged.set_value(true);
                    if let Some(place) = place.get_untracked() {
                        let _ = place.set_pointer_capture(event.pointer_id());
                    }
                }
                on:pointermove=move |event: PointerEvent| {
                    if let Some(to) = share(&event).filter(|_| dragged.get_value()) {
                        by_pointer(to);
                    }
                }
                on:pointerup=move |_| {
                    if dragged.try_update_value(std::mem::take) == Some(true) {
                        pointer_up(());
                    }
                }
                on:keydown=key
            >
                <b>{text}</b>
            </div>
        }
        .built()
    }
}

fn px(value: f64) -> String {
    format!("{value:.1}px")
}

fn inside(point: Point) -> bool {
    (0.0..=1.0).contains(&point.x) && (0.0..=1.0).contains(&point.y)
}

/// Where in the chart the pointer is.
fn point_of(place: NodeRef<Div>, frame: &Frame, event: &PointerEvent) -> Option<Point> {
    let rect = place.get_untracked()?.get_bounding_client_rect();
    let share = |at: f64, from: i32, to: i32| (at - f64::from(from)) / f64::from((to - from).max(1));
    let (x, y) = (f64::from(event.client_x()) - rect.left(), f64::from(event.client_y()) - rect.top());
    Some(Point { x: share(x, frame.left, frame.right), y: share(y, frame.top, frame.bottom) })
}
