//! tmp
use wafersim_answer::*; use wafersim_spec::*; use wafersim_place::*; use std::time::Instant;
fn main(){
 let model=Model::builtin("qwen3-coder-480b-a35b").unwrap(); let wafer=Wafer::builtin("wse3").unwrap();
 let m=Machine::from(&wafer);
 for (u,c) in [(1u64,32768u64),(8,8192),(21,32768),(64,32768)] {
  let sc=Scenario{users:u,context:c,prompt:c,..Scenario::default()};
  let q=Question::new(sc,model.clone(),wafer.clone()).unwrap();
  let t=Instant::now(); let n=20; for _ in 0..n { let _=answer_without_ranges(&q); } println!("{u} {c} answer {:?}",t.elapsed()/n);
  let r=Request{users:u,context:c,..Request::new(&model,m)};
  let t=Instant::now(); for _ in 0..n { let _=place(&r); } println!("   place {:?}",t.elapsed()/n);
  let p=place(&r).unwrap(); let w=scenario::WaferCount::Exactly(p.wafers);
  let r2=Request{wafers:w,users:100000,..r.clone()};
  let t=Instant::now(); for _ in 0..n { let _=fits(&r2); } println!("   refused fits {:?}",t.elapsed()/n);
  let t=Instant::now(); for _ in 0..n { let _=fits(&Request{users:p.max_users(c)+3,..r2.clone()}); } println!("   near fits {:?}",t.elapsed()/n);
  let t=Instant::now(); for _ in 0..n { let _=p.max_users(c); } println!("   max_users {:?}",t.elapsed()/n);
 }
}
