//! scratch
#![allow(clippy::print_stdout)]
use wafersim_fabric::packet::*;
fn bound(nodes:&[Coordinate], f:u64, cols:u32, rows:u32)->u64{
 use std::collections::BTreeMap; let mut m:BTreeMap<(u32,u32,u8),u64>=BTreeMap::new();
 let _=(cols,rows);
 for &a in nodes{for &b in nodes{ if a==b {continue;} let (mut x,mut y)=(a.column,a.row);
  *m.entry((x,y,9)).or_default()+=f;
  while x!=b.column{ let d= if b.column>x{0}else{1}; *m.entry((x,y,d)).or_default()+=f; if d==0{x+=1}else{x-=1} }
  while y!=b.row{ let d= if b.row>y{2}else{3}; *m.entry((x,y,d)).or_default()+=f; if d==2{y+=1}else{y-=1} }
  *m.entry((x,y,4)).or_default()+=f; }} *m.values().max().unwrap() }
fn main() {
 for (name,side,nodes) in [
  ("4x4 all",4,(0..16).map(|i|Coordinate::new(i%4,i/4)).collect::<Vec<_>>()),
  ("16x16 lattice",16,(0..16).map(|i|Coordinate::new(i%4*4+2,i/4*4+2)).collect()),
  ("16x16 diagonal",16,(0..16).map(|i|Coordinate::new(i,i)).collect()),
  ("16x16 row",16,(0..16).map(|i|Coordinate::new(i,7)).collect()),
  ("16x16 knight",16,(0..16).map(|i|Coordinate::new(i,(i*5)%16)).collect()),
 ] { for queue in [8,16,64] { for f in [16u32,64,256] {
  let b=bound(&nodes,f as u64,side,side);
  let n=nodes.len();
  let run=|ms:Vec<Message>| MessageConfig{columns:side,rows:side,queue,messages:ms,..Default::default()}.check().unwrap().run(|_|()).unwrap().finish;
  let mut once=vec![]; for &a in &nodes{for &d in &nodes{ if a!=d{once.push(Message{source:a,destination:d,flits:f,cycle:0});}}}
  let mut shift=vec![]; for i in 0..n{for k in 1..n{ shift.push(Message{source:nodes[i],destination:nodes[(i+k)%n],flits:f,cycle:0});}}
  let mut xor=vec![]; for i in 0..n{for k in 1..n{ xor.push(Message{source:nodes[i],destination:nodes[i^k],flits:f,cycle:0});}}
  let stag=|slot:u64|{let mut v=vec![]; for i in 0..n{for k in 1..n{ v.push(Message{source:nodes[i],destination:nodes[(i+k)%n],flits:f,cycle:(k as u64-1)*slot});}} v};
  let slot=b/(n as u64-1);
  println!("{name:15} q {queue:3} f {f:3} bound {b:6} once {:.3} shifted {:.3} xor {:.3} staggered {:.3} (slot {slot})", run(once) as f64/b as f64, run(shift) as f64/b as f64, run(xor) as f64/b as f64, run(stag(slot)) as f64/b as f64);
 }}}
}
