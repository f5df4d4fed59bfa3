//! Flows' requests to a real server on a loopback socket.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use actix_web::{App, HttpRequest as Asked, HttpResponse, HttpServer, web};

use super::*;

#[actix_web::test]
async fn fields_are_saved_by_their_pointers() {
    let service = Service::start();
    let found = service
        .get("/customers/1234?from=%2B86")
        .saves("name", "/customer/name")
        .saves("tier", "/customer/tags/0")
        .saves("balance", "/customer/balance")
        .saves("vip", "/customer/vip")
        .saves("all", "/customer/tags")
        .saves("nothing", "/customer/nothing")
        .saves("missing", "/customer/missing")
        .asks()
        .await;
    let expected = [
        ("all", "[\"gold\",\"old\"]"),
        ("balance", "12.5"),
        ("name", "安娜"),
        ("tier", "gold"),
        ("vip", "true"),
    ];
    assert_eq!(found, Some(expected.map(|(name, value)| (name.into(), value.into())).into()));
    assert_eq!(service.seen()[0], "GET /customers/1234?from=%2B86 accept=application/json");
}

#[actix_web::test]
async fn a_body_and_headers_arrive() {
    let service = Service::start();
    let mut request = service.get("/echo").saves("n", "/n");
    request.0.method = HttpMethod::Post;
    request.0.headers = vec![("X-Key".into(), "secret".into())];
    request.0.body = Some(r#"{"n":"1"}"#.into());
    assert_eq!(request.asks().await, Some([("n".to_owned(), "1".to_owned())].into()));
    assert_eq!(
        service.seen()[0],
        "POST /echo accept=application/json content-type=application/json x-key=secret"
    );
}

#[actix_web::test]
async fn without_fields_any_answer_with_2xx_is_good() {
    let service = Service::start();
    assert_eq!(service.get("/text").asks().await, Some(BTreeMap::new()));
    assert_eq!(service.get("/text").saves("a", "/a").asks().await, None, "no JSON");
}

#[actix_web::test]
async fn errors_of_the_service_are_errors_of_the_step() {
    let service = Service::start();
    for path in ["/missing", "/fails", "/huge", "/drops"] {
        assert_eq!(service.get(path).asks().await, None, "{path}");
    }
    let mut nobody = service.get("/text");
    nobody.0.url = "http://127.0.0.1:1/".into();
    assert_eq!(nobody.asks().await, None);
}

#[actix_web::test]
async fn a_service_that_hangs_costs_no_more_than_the_flow_gives() {
    let service = Service::start();
    for path in ["/hangs", "/trickles"] {
        let mut request = service.get(path);
        request.0.timeout_ms = 200;
        let begun = Instant::now();
        assert_eq!(request.asks().await, None, "{path}");
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(190), "{took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

#[actix_web::test]
async fn redirects_are_followed_but_not_to_another_scheme_nor_for_ever() {
    let service = Service::start();
    assert_eq!(service.get("/redirect?to=/text").asks().await, Some(BTreeMap::new()));
    for to in ["file:///etc/passwd", "ftp://127.0.0.1/x", "/redirect?to=/loop", "/loop"] {
        assert_eq!(service.get(&format!("/redirect?to={to}")).asks().await, None, "{to}");
    }
}

#[actix_web::test]
async fn a_url_of_another_scheme_is_never_asked() {
    let service = Service::start();
    for url in ["file:///etc/passwd", "unix:/run/x", "", "http://", "http://\u{0}/"] {
        let mut request = service.get("/text");
        request.0.url = url.into();
        assert_eq!(request.asks().await, None, "{url:?}");
    }
}

#[actix_web::test]
async fn calls_share_connections() {
    let service = Service::start();
    for _ in 0..20 {
        assert!(service.get("/text").asks().await.is_some());
    }
    let ports = service.ports.lock().unwrap().clone();
    assert_eq!(ports.len(), 20);
    assert!(ports.iter().all(|port| *port == ports[0]), "{ports:?}");
}

#[actix_web::test]
async fn an_https_address_is_asked_in_tls_only() {
    use tokio::io::AsyncReadExt as _;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let mut request = Service::start().get("/text");
    request.0.url = format!("https://{}/", listener.local_addr().unwrap());
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut record = [0; 6];
        socket.read_exact(&mut record).await.unwrap();
        record
    };
    let (record, found) = tokio::join!(server, request.asks());
    // A handshake record that begins with a ClientHello (RFC 8446 §5.1, §4).
    assert_eq!((record[0], record[1], record[5]), (22, 3, 1));
    assert_eq!(found, None);
}

/// A web service on a loopback socket, and a client.
struct Service {
    url: String,
    client: Arc<IvrHttp>,
    seen: Arc<Mutex<Vec<String>>>,
    ports: Arc<Mutex<Vec<u16>>>,
}

impl Service {
    fn start() -> Self {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let ports: Arc<Mutex<Vec<u16>>> = Arc::default();
        let (for_app, ports_for_app) = (seen.clone(), ports.clone());
        let server = HttpServer::new(move || {
            let (seen, ports) = (for_app.clone(), ports_for_app.clone());
            App::new().default_service(web::to(move |asked: Asked, body: web::Bytes| {
                note(&asked, &seen, &ports);
                answer(asked, body)
            }))
        })
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Self { url, client: Arc::new(IvrHttp::new().unwrap()), seen, ports }
    }

    fn get(&self, path: &str) -> Request {
        let request = HttpRequest {
            method: HttpMethod::Get,
            url: format!("{}{path}", self.url),
            headers: vec![],
            body: None,
            timeout_ms: 3_000,
            save: BTreeMap::new(),
        };
        Request(request, self.client.clone())
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

struct Request(HttpRequest, Arc<IvrHttp>);

impl Request {
    fn saves(mut self, variable: &str, pointer: &str) -> Self {
        self.0.save.insert(variable.into(), pointer.into());
        self
    }

    /// The fields, or nothing if the step failed.
    async fn asks(&self) -> Option<BTreeMap<String, String>> {
        match self.1.execute(&self.0).await {
            IvrResult::Http { ok: true, fields } => Some(fields),
            IvrResult::Http { ok: false, fields } => {
                assert!(fields.is_empty());
                None
            }
            IvrResult::Finished
            | IvrResult::Digits { .. }
            | IvrResult::NoInput
            | IvrResult::Failed { .. } => panic!("no result of a request"),
        }
    }
}

fn note(asked: &Asked, seen: &Mutex<Vec<String>>, ports: &Mutex<Vec<u16>>) {
    let mut line = format!("{} {}", asked.method(), asked.uri());
    for name in ["accept", "content-type", "x-key"] {
        if let Some(value) = asked.headers().get(name) {
            line += &format!(" {name}={}", value.to_str().unwrap());
        }
    }
    seen.lock().unwrap().push(line);
    ports.lock().unwrap().push(asked.peer_addr().unwrap().port());
}

async fn answer(asked: Asked, body: web::Bytes) -> HttpResponse {
    let never = || futures_util::stream::pending::<Result<web::Bytes, std::io::Error>>();
    match asked.path() {
        "/customers/1234" => HttpResponse::Ok().body(
            r#"{"customer":{"name":"安娜","tags":["gold","old"],"balance":12.5,"vip":true,"nothing":null}}"#,
        ),
        "/echo" => HttpResponse::Ok().body(body),
        "/text" => HttpResponse::Ok().body("fine"),
        "/fails" => HttpResponse::InternalServerError().body("{}"),
        "/huge" => HttpResponse::Ok().body(vec![b' '; ANSWER_BYTES_MAX + 1]),
        "/drops" => HttpResponse::Ok().streaming(futures_util::stream::iter([Err(
            std::io::Error::other("the service broke off"),
        ) as Result<web::Bytes, _>])),
        "/hangs" => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            HttpResponse::Ok().finish()
        }
        "/trickles" => HttpResponse::Ok().streaming(never()),
        "/loop" => HttpResponse::Found().insert_header(("Location", "/loop")).finish(),
        "/redirect" => {
            let to = asked.query_string().trim_start_matches("to=").to_owned();
            HttpResponse::Found().insert_header(("Location", to)).finish()
        }
        _ => HttpResponse::NotFound().finish(),
    }
}
