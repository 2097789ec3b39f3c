//! StrAttack's second stage (method report B.5): lowers L2 on the pixels that the best image changes.
//!
//! The released code minimises `c hinge + (rho + gamma/100)/2 ||d||^2`, because it divides by `eta + 2 rho`; dividing by
//! `eta + rho` gives the intended `c hinge + (gamma/100)/2 ||d||^2`. It also drops the smallest 3 % of what is left in
//! every round.

use ndarray::{Array1, Array3, Zip};

use super::{
    Picture,
    away::{self, Away, Extras, Seat},
    constant_search::{self, ConstantSearch, Lane},
    goal::{self, Journal, Judged},
    strattack::{Admm, Measured},
};
use crate::core::{
    error::Result,
    oracle::{Objective, Oracle},
    stepper::{Rule, States},
};

/// One constant on a fixed support.
struct Refined {
    c: f32,
    support: Array3<f32>,
    z: Array3<f32>,
    u: Array3<f32>,
    image: Array3<f32>,
}

impl Lane for Refined {
    fn picture(&self) -> Picture<'_> {
        Picture::Here(self.image.view())
    }
}

/// Refines the best image; does nothing when there is none.
pub(super) fn refine(admm: &Admm, search: ConstantSearch, oracle: &mut dyn Oracle, journal: &mut Journal) -> Result<()> {
    let clean = &admm.problem.image;
    let Some(best) = journal.best_image() else { return Ok(()) };
    journal.recost(goal::squared_distance(best, clean));
    constant_search::search(search, |constants| {
        let start = journal.best_image().expect("a best image is never forgotten") - clean;
        let floor = if admm.released { third_percentile(&start) } else { 0.0 };
        let support = start.mapv(|v| if v.abs() > floor { 1.0f32 } else { 0.0 });
        let labels = vec![admm.goal.class; constants.len()];
        let objective = Objective::Margin { labels: &labels, targeted: admm.goal.targeted, kappa: admm.kappa };
        let extras = Extras { windows: Some(&admm.windows), support: Some(support.view()) };
        let rule = Rule::Refine { eps: admm.eps };
        if let Some(shared) = away::open(oracle, admm.problem, rule, objective, start.view(), constants, extras)? {
            let lanes = Seat::each(&shared, constants);
            let resume = |lane: &Away, states: &States| {
                let (z, u) = (states.of("z", lane.index)?, states.of("u", lane.index)?);
                Ok(Refined { c: lane.c, support: support.clone(), z, u, image: clean.clone() })
            };
            let ended = constant_search::abreast(lanes, admm.pace, admm.goal, journal, |lanes, _| {
                away::either(&shared, lanes, |l| step_away(admm, l), resume, |oracle, l| step(admm, oracle, l))
            })?;
            return Ok((ended.found, ended.last));
        }
        let zero = Array3::<f32>::zeros(start.raw_dim());
        let lane = |c: &f32| Refined { c: *c, support: support.clone(), z: start.clone(), u: zero.clone(), image: clean.clone() };
        let lanes = constants.iter().map(lane).collect();
        let ended = constant_search::abreast(lanes, admm.pace, admm.goal, journal, |lanes, _| step(admm, oracle, lanes))?;
        Ok((ended.found, ended.last))
    })?;
    Ok(())
}

/// How much of z the image takes, and what the step is divided by.
fn weights(admm: &Admm) -> (f32, f32) {
    let rho = admm.rho;
    (rho / (rho + admm.gamma / 100.0), admm.eta + if admm.released { 2.0 * rho } else { rho })
}

/// A step where the network runs.
fn step_away(admm: &Admm, lanes: &mut [&mut Away]) -> Result<Vec<Judged>> {
    let (share, weight) = weights(admm);
    let readings = away::step(lanes, &[admm.eta, admm.rho, weight, share])?;
    Ok(readings.into_iter().zip(lanes).map(|(reading, lane)| judge(admm, Measured::told(&reading), reading.logits, lane.c)).collect())
}

/// What counts here is L2.
fn judge(admm: &Admm, measured: Measured, logits: Array1<f32>, c: f32) -> Judged {
    let found = admm.judge(measured, logits, c);
    Judged { cost: found.cost.map(|_| measured.squares), ..found }
}

fn step(admm: &Admm, oracle: &mut dyn Oracle, lanes: &mut [&mut Refined]) -> Result<Vec<Judged>> {
    let (rho, clean) = (admm.rho, &admm.problem.image);
    let (share, weight) = weights(admm);
    for lane in lanes.iter_mut() {
        let mut d = (&lane.z - &lane.u) * share;
        d *= &lane.support;
        lane.image = admm.apply(&d);
    }
    let views: Vec<_> = lanes.iter().map(|l| l.image.view()).collect();
    let evaluated = admm.goal.hinges(oracle, &views, admm.kappa)?;
    let mut judged = Vec::new();
    for (lane, mut e) in lanes.iter_mut().zip(evaluated) {
        goal::mask(admm.problem, &mut e.grad);
        judged.push(judge(admm, admm.measure(&lane.image), e.logits, lane.c));
        let d = &lane.image - clean;
        let (c, eta) = (lane.c, admm.eta);
        Zip::from(&mut lane.z).and(&d).and(&lane.u).and(&e.grad).and(&lane.support).for_each(|z, d, u, g, m| {
            *z = (eta * *z + rho * (d + u) - c * m * g) / weight;
        });
        Zip::from(&mut lane.u).and(&d).and(&lane.z).for_each(|u, d, z| *u += d - z);
    }
    Ok(judged)
}

/// Third percentile of the absolute non-zero values, linearly interpolated.
fn third_percentile(values: &Array3<f32>) -> f32 {
    let mut sizes: Vec<f32> = values.iter().map(|v| v.abs()).filter(|v| *v > 0.0).collect();
    if sizes.is_empty() {
        return 0.0;
    }
    sizes.sort_unstable_by(f32::total_cmp);
    let at = 0.03 * (sizes.len() - 1) as f32;
    let below = sizes[at as usize];
    let above = sizes[(at as usize + 1).min(sizes.len() - 1)];
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;
    use crate::core::attack::{
        Params, find,
        goal::Goal,
        tests::{active, problem},
    };

    #[test]
    fn closed_forms_on_a_fixed_support() {
        // c w / (rho + gamma/100) in the released code, c w / (gamma/100) as intended; nothing off the support.
        for (variant, gamma, divisor) in [("released", "50", 2.0f32), ("exact", "150", 1.5)] {
            let (mut model, image, w) = active([1, 4, 4], 23);
            let problem = problem(&image, None);
            let given = [("variant", variant), ("gamma", gamma), ("rho", "1.5"), ("kappa", "100"), ("group", "2")];
            let params = Params::check(find("strattack").unwrap().params(), given).unwrap();
            let goal = Goal::of(&problem, &model).unwrap();
            let admm = Admm::new(&problem, &params, goal, Array1::zeros(2));
            let support = Array3::from_shape_fn((1, 4, 4), |(_, y, _)| f32::from(y < 2));
            let zero = Array3::<f32>::zeros((1, 4, 4));
            let c = 0.9f32;
            let mut lane = Refined { c, support, z: zero.clone() + 0.01, u: zero, image: image.clone() };
            for _ in 0..4000 {
                step(&admm, &mut model, &mut [&mut lane]).unwrap();
            }
            for ((((_, y, _), got), x), w) in lane.image.indexed_iter().zip(&image).zip(&w) {
                let want = if y < 2 { (x + c * w / divisor).clamp(0.0, 1.0) } else { *x };
                assert_abs_diff_eq!(*got, want, epsilon = 1e-4);
            }
        }
    }

    #[test]
    fn percentiles_interpolate() {
        assert_eq!(third_percentile(&Array3::zeros((1, 2, 2))), 0.0);
        let values = Array3::from_shape_fn((1, 1, 101), |(_, _, x)| -(x as f32) - 1.0);
        assert_abs_diff_eq!(third_percentile(&values), 4.0, epsilon = 1e-5);
    }
}
