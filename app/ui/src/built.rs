//! Views that are built at once.
//!
//! A view of Leptos is built when it is shown, and compared with what is there when it is shown again: code for each type
//! of view. The pages exchange whole trees, so only the building is needed; all such views are of one type.

use leptos::tachys::html::attribute::Attribute;
use leptos::tachys::html::attribute::any_attribute::AnyAttribute;
use leptos::tachys::hydration::Cursor;
use leptos::tachys::renderer::types::{Element, Node};
use leptos::tachys::view::add_attr::AddAnyAttr;
use leptos::tachys::view::{Mountable, Position, PositionState, Render, RenderHtml};
use send_wrapper::SendWrapper;

/// Elements that are not yet in the page, whatever their view was.
pub struct Built(SendWrapper<Shown>);

/// Elements in the page.
pub struct Shown(Box<dyn Mountable>);

/// Turns views into [`Built`].
pub trait Build {
    /// Makes its elements.
    fn built(self) -> Built;
}

impl<V: RenderHtml<State: 'static>> Build for V {
    fn built(self) -> Built {
        Built(SendWrapper::new(Shown(Box::new(self.build()))))
    }
}

impl Render for Built {
    type State = Shown;

    fn build(self) -> Shown {
        self.0.take()
    }

    fn rebuild(self, state: &mut Shown) {
        let mut new = self.build();
        state.insert_before_this(&mut new);
        state.unmount();
        *state = new;
    }
}

impl Mountable for Shown {
    fn unmount(&mut self) {
        self.0.unmount();
    }

    fn mount(&mut self, parent: &Element, marker: Option<&Node>) {
        self.0.mount(parent, marker);
    }

    fn insert_before_this(&self, child: &mut dyn Mountable) -> bool {
        self.0.insert_before_this(child)
    }

    fn elements(&self) -> Vec<Element> {
        self.0.elements()
    }
}

impl AddAnyAttr for Built {
    type Output<New: Attribute> = Self;

    fn add_any_attr<New: Attribute>(self, _: New) -> Self {
        self
    }
}

/// The pages are never written as HTML.
impl RenderHtml for Built {
    type AsyncOutput = Self;
    type Owned = Self;

    const MIN_LENGTH: usize = 0;

    fn dry_resolve(&mut self) {}

    async fn resolve(self) -> Self {
        self
    }

    fn to_html_with_buf(self, _: &mut String, _: &mut Position, _: bool, _: bool, _: Vec<AnyAttribute>) {}

    fn hydrate<const FROM_SERVER: bool>(self, _: &Cursor, _: &PositionState) -> Shown {
        self.build()
    }

    fn into_owned(self) -> Self {
        self
    }
}
