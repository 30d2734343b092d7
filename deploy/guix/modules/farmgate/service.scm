;;; farmgate as a service of Guix System.

(define-module (farmgate service)
  #:use-module (farmgate configuration)
  #:use-module (gnu packages admin)
  #:use-module (gnu services)
  #:use-module (gnu services configuration)
  #:use-module (gnu services shepherd)
  #:use-module (gnu system shadow)
  #:use-module (guix gexp)
  #:use-module (guix modules)
  #:use-module (ice-9 match)
  #:use-module (srfi srfi-1)
  #:export (farmgate-service-type)
  #:re-export (farmgate-configuration
               farmgate-site-configuration
               farmgate-certificate-configuration
               farmgate-listen-configuration
               farmgate-paths-configuration
               farmgate-admin-configuration
               farmgate-acme-configuration
               farmgate-acme-fallback-configuration
               farmgate-eab-configuration
               farmgate-cache-configuration
               farmgate-cache-static-configuration
               farmgate-cache-download-configuration
               farmgate-cache-logs-configuration
               farmgate-timeouts-configuration
               farmgate-timeouts-route-configuration
               farmgate-access-log-configuration
               farmgate-rotate-configuration
               farmgate-metrics-configuration
               farmgate-limits-configuration
               farmgate-limits-requests-configuration
               farmgate-process-configuration))

;; farmgate's own default for --config, so that its commands need none.  It is a link into the store which changes when
;; the system is reconfigured, and then `herd reload farmgate' takes it up.
(define %configuration-file "/etc/farmgate/farmgate.toml")

(define (field-of table get default)
  "Return what GET finds in TABLE, or DEFAULT where that or TABLE itself is not set."
  (if (maybe-value-set? table)
      (maybe-value (get table) default)
      default))


;;;
;;; Account and folders.
;;;

(define (farmgate-accounts config)
  (list (user-group
         (name (farmgate-configuration-group config))
         (system? #t))
        (user-account
         (name (farmgate-configuration-user config))
         (group (farmgate-configuration-group config))
         (supplementary-groups (farmgate-configuration-supplementary-groups config))
         (system? #t)
         (comment "farmgate, the web server of the build farm")
         (home-directory "/var/empty")
         (create-home-directory? #f)
         (shell (file-append shadow "/sbin/nologin")))))

(define (farmgate-folders config)
  "Return a list of folders with their modes: those that are the gate's own, and those that only hold a file of it."
  (define paths (farmgate-configuration-paths config))
  (define access-log (farmgate-configuration-access-log config))

  (define own
    `((,(field-of paths farmgate-paths-configuration-state "/var/lib/farmgate") #o700)
      (,(field-of paths farmgate-paths-configuration-cache "/var/cache/farmgate") #o750)))

  (define files
    `((,(control-socket config) #o755)
      (,(field-of paths farmgate-paths-configuration-pid "/run/farmgate/pid") #o755)
      ,@(filter-map (lambda (get default)
                      (let ((file (field-of access-log get default)))
                        (and (string-prefix? "/" file) `(,file #o750))))
                    (list farmgate-access-log-configuration-http farmgate-access-log-configuration-https)
                    '("/var/log/farmgate/http.access.log" "/var/log/farmgate/https.access.log"))))

  (values own
          (delete-duplicates
           (map (match-lambda ((file mode) (list (dirname file) mode))) files))))

(define (control-socket config)
  (field-of (farmgate-configuration-paths config) farmgate-paths-configuration-control "/run/farmgate/control.sock"))

(define (farmgate-activation config)
  (define-values (own shared) (farmgate-folders config))

  (with-imported-modules (source-module-closure '((gnu build activation)))
    #~(begin
        (use-modules (gnu build activation)
                     (ice-9 match))

        (let ((user (getpwnam #$(farmgate-configuration-user config))))
          (for-each (match-lambda
                      ((folder mode) (mkdir-p/perms folder user mode)))
                    '#$own)
          ;; One that was there, such as /var/log, may be somebody else's.
          (for-each (match-lambda
                      ((folder mode)
                       (unless (file-exists? folder)
                         (mkdir-p/perms folder user mode))))
                    '#$shared)))))


;;;
;;; Shepherd.
;;;

(define (farmgate-endpoints config)
  "Return G-expressions of the endpoints that the Shepherd opens, so that the gate needs no privileges.  Their names are
what farmgate knows them by."
  (define listen (farmgate-configuration-listen config))

  (append-map
   (lambda (name get default)
     (map (lambda (text)
            (match (listen-address text)
              ((family address port)
               #~(endpoint (make-socket-address #$family (inet-pton #$family #$address) #$port)
                           #:name #$name
                           ;; A farm's clients come all at once, and more so while it is restarted.
                           #:backlog 4096))))
          (field-of listen get default)))
   '("http" "https")
   (list farmgate-listen-configuration-http farmgate-listen-configuration-https)
   '(("0.0.0.0:80" "[::]:80") ("0.0.0.0:443" "[::]:443"))))

(define (farmgate-command config . arguments)
  #~(list #$(file-append (farmgate-configuration-package config) "/bin/farmgate")
          #$@arguments "--config" #$%configuration-file))

(define (farmgate-shepherd-services config)
  (define level (farmgate-configuration-own-log-level config))

  (define (action-running command documentation)
    (shepherd-action
     (name (string->symbol command))
     (documentation documentation)
     (procedure #~(lambda _
                    (zero? (status:exit-val (apply system* #$(farmgate-command config command))))))))

  (list
   (shepherd-service
    (documentation "Serve the build farm: TLS, routing, cache, and the gate to the admin pages.")
    (provision '(farmgate))
    ;; No network: it starts without, and without its backends.
    (requirement '(user-processes loopback))
    (start #~(make-systemd-constructor
              #$(farmgate-command config "run")
              (list #$@(farmgate-endpoints config))
              #:lazy-start? #f
              #:user #$(farmgate-configuration-user config)
              #:group #$(farmgate-configuration-group config)
              #:supplementary-groups '#$(farmgate-configuration-supplementary-groups config)
              #:log-file #$(farmgate-configuration-own-log config)
              #:file-creation-mask #o027
              ;; limits.connections (10000) times two, one to the client and one to the backend, with room.
              #:resource-limits '((nofile 65536 65536))
              #:environment-variables
              (append '#$(if (maybe-value-set? level)
                             (list (string-append "FARMGATE_LOG=" level))
                             '())
                      (default-environment-variables))))
    ;; Requests in flight have 30 s to finish, then the logs are closed.  Until it is started, the value of the service is
    ;; the list of its sockets.
    (stop #~(let ((terminate (make-kill-destructor #:grace-period 40))
                  (close (make-systemd-destructor)))
              (lambda (value . arguments)
                (if (pair? value)
                    (close value)
                    (apply terminate value arguments)))))
    (actions
     (list (shepherd-configuration-action %configuration-file)
           (action-running "reload" "Read the configuration and all files again.  No connection is dropped.")
           (action-running "check" "Check the configuration, and print the route table.")
           (shepherd-action
            (name 'reopen-logs)
            (documentation "Open the access logs anew, after another program has rotated them.")
            (procedure #~(lambda _
                           (kill (call-with-input-file #$(field-of (farmgate-configuration-paths config)
                                                                   farmgate-paths-configuration-pid "/run/farmgate/pid")
                                   read)
                                 SIGUSR1)))))))

   ;; To the Shepherd the gate is running as soon as its sockets are open: who connects from then on is answered.  Whoever
   ;; must know that it serves, or that it could not, can require this.
   (shepherd-service
    (documentation "Wait until farmgate serves.")
    (provision '(farmgate-ready))
    (requirement '(farmgate))
    (one-shot? #t)
    (start #~(lambda _
               (define (serves?)
                 (let ((socket (socket PF_UNIX SOCK_STREAM 0)))
                   (define connected?
                     (false-if-exception
                      (begin
                        (connect socket AF_UNIX #$(control-socket config))
                        #t)))
                   (close-port socket)
                   connected?))

               (let wait ((seconds 30))
                 (cond ((serves?) #t)
                       ((zero? seconds)
                        (format #t "farmgate does not serve; see ~a~%"
                                #$(farmgate-configuration-own-log config))
                        #f)
                       (else
                        (sleep 1)
                        (wait (- seconds 1))))))))))


;;;
;;; The service.
;;;

(define (farmgate-etc config)
  `(("farmgate/farmgate.toml" ,(farmgate-configuration-file config))))

(define farmgate-service-type
  (service-type
   (name 'farmgate)
   (extensions
    (list (service-extension shepherd-root-service-type farmgate-shepherd-services)
          (service-extension account-service-type farmgate-accounts)
          (service-extension activation-service-type farmgate-activation)
          (service-extension etc-service-type farmgate-etc)
          ;; For `farmgate status' and its manual pages.
          (service-extension profile-service-type
                             (compose list farmgate-configuration-package))))
   (description
    "Run farmgate, the web server in front of a build farm: substitutes, pages and the way to the admin pages.")))
